//! Query and Discover Versions: what the server can do.

use super::personality::Personality;
use crate::kmip::*;
use crate::ttlv::{Field, Tag, Value};
use crate::version::Version;

/// Answers Discover Versions.
pub fn discover(
    personality: &Personality,
    request: &DiscoverVersionsRequest,
) -> DiscoverVersionsResponse {
    let asked = &request.protocol_versions;
    let both = |version: &&Version| asked.is_empty() || asked.contains(version);
    DiscoverVersionsResponse {
        protocol_versions: personality.versions.iter().filter(both).copied().collect(),
    }
}

/// Answers Query.
pub fn query(personality: &Personality, request: &QueryRequest, version: Version) -> QueryResponse {
    let mut answer = QueryResponse::default();
    let mut functions = request.query_functions.clone();
    functions.sort_unstable();
    functions.dedup();
    for function in &functions {
        match *function {
            QueryFunction::QUERY_OPERATIONS => {
                let announced = |op: &&OperationCode| {
                    !personality.unannounced.contains(op) && version >= op.since()
                };
                answer.operations = personality
                    .operations
                    .iter()
                    .filter(announced)
                    .copied()
                    .collect();
            }
            QueryFunction::QUERY_OBJECTS => {
                answer.object_types = vec![
                    ObjectType::CERTIFICATE,
                    ObjectType::SYMMETRIC_KEY,
                    ObjectType::PUBLIC_KEY,
                    ObjectType::PRIVATE_KEY,
                    ObjectType::SECRET_DATA,
                    ObjectType::OPAQUE_OBJECT,
                    ObjectType::SPLIT_KEY,
                ];
                let others = [
                    (ObjectType::TEMPLATE, version < Version::V2_0),
                    (ObjectType::PGP_KEY, version >= Version::V1_2),
                    (ObjectType::CERTIFICATE_REQUEST, version >= Version::V2_0),
                ];
                answer.object_types.extend(
                    others
                        .iter()
                        .filter(|(_, known)| *known)
                        .map(|(object_type, _)| *object_type),
                );
            }
            QueryFunction::QUERY_SERVER_INFORMATION => {
                answer.vendor_identification = Some(format!(
                    "{} (mrhsm {})",
                    personality.name,
                    env!("CARGO_PKG_VERSION")
                ));
                answer.server_information = Some(server_information(version));
            }
            QueryFunction::QUERY_CAPABILITIES if version >= Version::V1_3 => {
                let later = |flag: bool| (version >= Version::V1_4).then_some(flag);
                answer.capability_information = vec![CapabilityInformation {
                    streaming_capability: Some(personality.streams),
                    asynchronous_capability: Some(personality.answers_later()),
                    attestation_capability: Some(false),
                    batch_undo_capability: later(personality.undoes_batch),
                    batch_continue_capability: later(true),
                    unwrap_mode: Some(UnwrapMode::PROCESSED),
                    destroy_action: Some(DestroyAction::KEY_MATERIAL_DELETED),
                    ..CapabilityInformation::default()
                }];
            }
            QueryFunction::QUERY_PROFILES if version >= Version::V1_3 => {
                answer.profile_information = PROFILES.iter().map(|name| profile(*name)).collect();
            }
            QueryFunction::QUERY_STORAGE_PROTECTION_MASKS if version >= Version::V2_0 => {
                answer.protection_storage_masks = Some(ProtectionStorageMasks {
                    masks: vec![ProtectionStorageMask::SOFTWARE],
                });
            }
            QueryFunction::QUERY_RNGS if version >= Version::V1_3 => {
                let rng = RngParameters {
                    rng_algorithm: RngAlgorithm::UNSPECIFIED,
                    ..RngParameters::default()
                };
                answer.rng_parameters = vec![rng];
            }
            _ => {}
        }
    }
    answer
}

/// Profiles whose test cases the server passes.
const PROFILES: &[ProfileName] = &[
    ProfileName::TAPE_LIBRARY_SERVER,
    ProfileName::SYMMETRIC_KEY_LIFECYCLE_SERVER,
    ProfileName::ASYMMETRIC_KEY_LIFECYCLE_SERVER,
    ProfileName::BASIC_CRYPTOGRAPHIC_SERVER,
    ProfileName::SYMMETRIC_KEY_FOUNDRY_SERVER,
    ProfileName::OPAQUE_MANAGED_OBJECT_STORE_SERVER,
    ProfileName::STORAGE_ARRAY_WITH_SELF_ENCRYPTING_DRIVE_SERVER,
];

fn profile(profile_name: ProfileName) -> ProfileInformation {
    ProfileInformation {
        profile_name,
        ..ProfileInformation::default()
    }
}

/// Server Information: what 2.x has fields for; in 1.x it is a vendor's own, and empty.
fn server_information(version: Version) -> Value {
    let text = |tag, text: &str| Field {
        tag,
        value: Value::Text(text.to_owned()),
    };
    Value::Structure(match version.typed_attributes() {
        true => vec![
            text(Tag::SERVER_VERSION, env!("CARGO_PKG_VERSION")),
            text(Tag::PRODUCT_NAME, "mrhsm serve"),
        ],
        false => Vec::new(),
    })
}
