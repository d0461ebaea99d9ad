//! Operations on the attributes of an object.

use crate::kmip::attrs::{Attribute, AttributeName, Attributes};
use crate::kmip::enums::AdjustmentType;
use crate::kmip::structure::structures;
use crate::kmip::types::UniqueIdentifier;
use crate::ttlv::Value;

structures! {
    /// Returns attributes of an object (spec 1.4, 4.12).
    #[derive(Clone, Default)]
    GetAttributesRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        /// Which ones; none means all.
        attribute_names: Vec<AttributeName> = ATTRIBUTE_NAME | ATTRIBUTE_REFERENCE,
    }

    /// The attributes.
    #[derive(Clone, Default)]
    GetAttributesResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        attributes: Attributes = ATTRIBUTE | ATTRIBUTES,
    }

    /// Returns the names of an object's attributes (spec 1.4, 4.13).
    #[derive(Clone, Default)]
    GetAttributeListRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
    }

    /// The names.
    #[derive(Clone, Default)]
    GetAttributeListResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        attribute_names: Vec<AttributeName> = ATTRIBUTE_NAME | ATTRIBUTE_REFERENCE,
    }

    /// Adds an attribute (spec 1.4, 4.14).
    #[derive(Clone)]
    AddAttributeRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        attribute: Attribute = ATTRIBUTE | NEW_ATTRIBUTE,
    }

    /// The attribute that was added.
    #[derive(Clone, Default)]
    AddAttributeResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        attribute: Option<Attribute> = ATTRIBUTE until V1_4,
    }

    /// Changes an attribute that is there already (spec 1.4, 4.15; spec 2.1, 6.1.32).
    #[derive(Clone)]
    ModifyAttributeRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        /// Which of several of this name is meant; 1.x says it by the index.
        current_attribute: Option<Attribute> = CURRENT_ATTRIBUTE since V2_0,
        attribute: Attribute = ATTRIBUTE | NEW_ATTRIBUTE,
    }

    /// The attribute as it is now.
    #[derive(Clone, Default)]
    ModifyAttributeResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        attribute: Option<Attribute> = ATTRIBUTE until V1_4,
    }

    /// Deletes an attribute (spec 1.4, 4.16; spec 2.1, 6.1.12).
    #[derive(Clone, Default)]
    DeleteAttributeRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        /// One of several of a name, by its value.
        current_attribute: Option<Attribute> = CURRENT_ATTRIBUTE since V2_0,
        /// By name: in 2.x all of this name.
        attribute_name: Option<AttributeName> = ATTRIBUTE_NAME | ATTRIBUTE_REFERENCE,
        attribute_index: Option<i32> = ATTRIBUTE_INDEX until V1_4,
    }

    /// The attribute that was deleted.
    #[derive(Clone, Default)]
    DeleteAttributeResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
        attribute: Option<Attribute> = ATTRIBUTE until V1_4,
    }

    /// Sets an attribute, whether it is there or not (spec 2.1, 6.1.52).
    #[derive(Clone)]
    SetAttributeRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        attribute: Attribute = NEW_ATTRIBUTE since V2_0,
    }

    /// The object whose attribute was set.
    #[derive(Clone, Default)]
    SetAttributeResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
    }

    /// Adds to, subtracts from or negates an attribute (spec 2.1, 6.1.3).
    #[derive(Clone)]
    AdjustAttributeRequest {
        unique_identifier: Option<UniqueIdentifier> = UNIQUE_IDENTIFIER,
        attribute_reference: AttributeName = ATTRIBUTE_REFERENCE since V2_0,
        adjustment_type: AdjustmentType = ADJUSTMENT_TYPE,
        adjustment_value: Option<Value> = ADJUSTMENT_VALUE,
    }

    /// The object whose attribute was adjusted.
    #[derive(Clone, Default)]
    AdjustAttributeResponse {
        unique_identifier: String = UNIQUE_IDENTIFIER,
    }
}
