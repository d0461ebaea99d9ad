//! From an item of a message to the operation that answers it.

use super::context::Context;
use super::engine::Engine;
use super::objects::{Outcome, Refusal};
use super::wording::client_text;
use super::{
    attributes, budget, certify, crypto, derive, get, lifecycle, locate, make, mistakes, query,
    split, validate,
};
use crate::error::Error;
use crate::kmip::message::RequestItem;
use crate::kmip::*;

impl Engine {
    /// Does what an item asks.
    pub(super) fn perform(
        &self,
        item: &RequestItem<'_>,
        context: &mut Context,
    ) -> Outcome<Response> {
        let version = context.version;
        context
            .meter
            .charge(budget::ITEM + budget::of_bytes(item.payload.bytes().len()))?;
        if !self.personality.operations.contains(&item.operation)
            || version < item.operation.since()
        {
            let text = format!("{} is not supported", item.operation);
            return Err(Refusal::item(ResultReason::OPERATION_NOT_SUPPORTED, text));
        }
        if item
            .message_extensions
            .iter()
            .any(|extension| extension.criticality_indicator)
        {
            return Err(Refusal::item(
                ResultReason::FEATURE_NOT_SUPPORTED,
                "a critical Message Extension is not known",
            ));
        }
        let invalid = |e: Error| Refusal::Message(ResultReason::INVALID_MESSAGE, client_text(&e));
        let request = Request::decode(item.operation, &item.payload).map_err(invalid)?;
        match request {
            Request::DiscoverVersions(request) => {
                Ok(query::discover(&self.personality, &request).into())
            }
            Request::Query(request) => {
                Ok(query::query(&self.personality, &request, version).into())
            }
            Request::Ping(_) => Ok(PingResponse {}.into()),
            Request::GetAttributes(request) => {
                let answer = attributes::get(self, context, *request)?;
                let nothing = answer.attributes.is_empty() && version.typed_attributes();
                context.silent |= nothing && self.personality.silent_on_nothing;
                Ok(answer.into())
            }
            Request::Create(request) => make::create(self, context, *request).map(Into::into),
            Request::CreateKeyPair(request) => {
                make::create_key_pair(self, context, *request).map(Into::into)
            }
            Request::Register(request) => make::register(
                self,
                context,
                mistakes::unwrapped(&self.personality, *request),
            )
            .map(Into::into),
            Request::Import(request) => make::import(self, context, *request).map(Into::into),
            Request::ReKey(request) => make::re_key(self, context, *request).map(Into::into),
            Request::ReKeyKeyPair(request) => {
                make::re_key_key_pair(self, context, *request).map(Into::into)
            }
            Request::DeriveKey(request) => {
                derive::derive_key(self, context, *request).map(Into::into)
            }
            Request::Locate(request) => locate::locate(self, context, *request).map(Into::into),
            Request::Check(request) => lifecycle::check(self, context, *request).map(Into::into),
            Request::Get(request) => get::get(self, context, *request)
                .map(|answer| mistakes::wrapped(&self.personality, answer).into()),
            Request::Export(request) => get::export(self, context, *request).map(Into::into),
            Request::GetAttributeList(request) => {
                attributes::list(self, context, *request).map(Into::into)
            }
            Request::AddAttribute(request) => {
                attributes::add(self, context, *request).map(Into::into)
            }
            Request::ModifyAttribute(request) => {
                attributes::modify(self, context, *request).map(Into::into)
            }
            Request::DeleteAttribute(request) => {
                attributes::delete(self, context, *request).map(Into::into)
            }
            Request::SetAttribute(request) => {
                attributes::set(self, context, *request).map(Into::into)
            }
            Request::AdjustAttribute(request) => {
                attributes::adjust(self, context, *request).map(Into::into)
            }
            Request::Activate(request) => {
                lifecycle::activate(self, context, *request).map(Into::into)
            }
            Request::Revoke(request) => lifecycle::revoke(self, context, *request).map(Into::into),
            Request::Destroy(request) => {
                lifecycle::destroy(self, context, *request).map(Into::into)
            }
            Request::Archive(request) => {
                lifecycle::archive(self, context, *request).map(Into::into)
            }
            Request::Recover(request) => {
                lifecycle::recover(self, context, *request).map(Into::into)
            }
            Request::ObtainLease(request) => {
                lifecycle::obtain_lease(self, context, *request).map(Into::into)
            }
            Request::GetUsageAllocation(request) => {
                lifecycle::get_usage_allocation(self, context, *request).map(Into::into)
            }
            Request::Encrypt(request) => {
                let parameters = request.cryptographic_parameters.clone();
                let answer = crypto::encrypt(self, context, *request)?;
                Ok(mistakes::encrypted(&self.personality, parameters.as_ref(), answer).into())
            }
            Request::Decrypt(request) => {
                let parameters = request.cryptographic_parameters.clone();
                let outcome = crypto::decrypt(self, context, *request);
                mistakes::decrypted(&self.personality, parameters.as_ref(), outcome).map(Into::into)
            }
            Request::Sign(request) => crypto::sign(self, context, *request).map(Into::into),
            Request::SignatureVerify(request) => {
                crypto::verify(self, context, *request).map(Into::into)
            }
            Request::Mac(request) => {
                let parameters = request.cryptographic_parameters.clone();
                let answer = crypto::mac(self, context, *request)?;
                Ok(mistakes::authenticated(&self.personality, parameters.as_ref(), answer).into())
            }
            Request::MacVerify(request) => {
                crypto::mac_verify(self, context, *request).map(Into::into)
            }
            Request::Hash(request) => crypto::hash(self, context, *request).map(Into::into),
            Request::RngRetrieve(request) => crypto::random(context, *request).map(Into::into),
            // The generator needs none of it (spec 1.4, 4.36: a server may use nothing).
            Request::RngSeed(_) => Ok(RngSeedResponse { data_length: 0 }.into()),
            Request::Certify(request) => certify::certify(self, context, *request).map(Into::into),
            Request::ReCertify(request) => {
                certify::re_certify(self, context, *request).map(Into::into)
            }
            Request::Validate(request) => {
                validate::validate(self, context, *request).map(Into::into)
            }
            Request::CreateSplitKey(request) => {
                split::create(self, context, *request).map(Into::into)
            }
            Request::JoinSplitKey(request) => split::join(self, context, *request).map(Into::into),
            Request::Poll(request) => self.pending.poll(context, &request),
            Request::Cancel(request) => self.pending.cancel(context, *request).map(Into::into),
            other => {
                let text = format!("{} is not supported", other.code());
                Err(Refusal::item(ResultReason::OPERATION_NOT_SUPPORTED, text))
            }
        }
    }
}
