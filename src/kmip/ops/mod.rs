//! The operations: what is asked and what is answered.

mod attributes;
mod crypto;
mod lifecycle;
mod objects;
mod server;

pub use attributes::*;
pub use crypto::*;
pub use lifecycle::*;
pub use objects::*;
pub use server::*;

use super::enums::OperationCode;
use crate::error::Result;
use crate::ttlv::{Decode, Encode, Item, Tag, Value, Writer};
use crate::version::Version;

/// A request payload, and what is known about its operation.
pub trait Operation: Encode + Decode {
    /// Operation, as it stands in the batch item.
    const CODE: OperationCode;
    /// The version that brought it.
    const SINCE: Version;
    /// Whether it may be sent again when its response was lost: a second time changes nothing more,
    /// though the server may refuse it.
    const IDEMPOTENT: bool;
    /// The response payload.
    type Response: Encode + Decode;
}

macro_rules! operations {
    ($($name:ident($request:ident, $response:ident) = $code:ident since $since:ident, idempotent: $idempotent:literal;)*) => {
        $(impl Operation for $request {
            const CODE: OperationCode = OperationCode::$code;
            const SINCE: Version = Version::$since;
            const IDEMPOTENT: bool = $idempotent;
            type Response = $response;
        })*

        /// A request payload of any operation.
        #[derive(Debug, PartialEq)]
        pub enum Request {
            $(#[doc = stringify!($name)] $name(Box<$request>),)*
            /// An operation without types here; its payload as it came.
            Other(OperationCode, Value),
        }

        /// A response payload of any operation.
        #[derive(Debug, PartialEq)]
        pub enum Response {
            $(#[doc = stringify!($name)] $name(Box<$response>),)*
            /// An operation without types here; its payload as it came.
            Other(OperationCode, Value),
        }

        impl Request {
            /// Reads the payload of a request for `code`.
            pub fn decode(code: OperationCode, payload: &Item<'_>) -> Result<Request> {
                match code {
                    $(OperationCode::$code => Decode::decode(payload).map(Request::$name),)*
                    _ => Value::decode(payload).map(|value| Request::Other(code, value)),
                }
            }

            /// Operation.
            pub fn code(&self) -> OperationCode {
                match self {
                    $(Request::$name(_) => OperationCode::$code,)*
                    Request::Other(code, _) => *code,
                }
            }
        }

        impl Response {
            /// Reads the payload of a response to `code`.
            pub fn decode(code: OperationCode, payload: &Item<'_>) -> Result<Response> {
                match code {
                    $(OperationCode::$code => Decode::decode(payload).map(Response::$name),)*
                    _ => Value::decode(payload).map(|value| Response::Other(code, value)),
                }
            }

            /// Operation.
            pub fn code(&self) -> OperationCode {
                match self {
                    $(Response::$name(_) => OperationCode::$code,)*
                    Response::Other(code, _) => *code,
                }
            }
        }

        impl OperationCode {
            /// The version that brought the operation; for one without types here the first.
            pub fn since(self) -> Version {
                match self {
                    $(OperationCode::$code => $request::SINCE,)*
                    _ => Version::V1_0,
                }
            }
        }

        impl Encode for Request {
            fn encode(&self, tag: Tag, writer: &mut Writer) {
                match self {
                    $(Request::$name(request) => request.encode(tag, writer),)*
                    Request::Other(_, value) => value.encode(tag, writer),
                }
            }
        }

        impl Encode for Response {
            fn encode(&self, tag: Tag, writer: &mut Writer) {
                match self {
                    $(Response::$name(response) => response.encode(tag, writer),)*
                    Response::Other(_, value) => value.encode(tag, writer),
                }
            }
        }

        #[cfg(test)]
        pub(crate) mod samples {
            use super::*;
            use crate::kmip::sample::Sample;

            /// A request of every operation that `version` has.
            pub(crate) fn requests(version: Version) -> Vec<Request> {
                let mut all = Vec::new();
                $(if $request::SINCE <= version {
                    all.push(Request::$name(Sample::sample(version)));
                })*
                all
            }

            /// A response of every operation that `version` has.
            pub(crate) fn responses(version: Version) -> Vec<Response> {
                let mut all = Vec::new();
                $(if $request::SINCE <= version {
                    all.push(Response::$name(Sample::sample(version)));
                })*
                all
            }
        }

        $(impl From<$response> for Response {
            fn from(response: $response) -> Response {
                Response::$name(Box::new(response))
            }
        })*
    };
}

operations! {
    Create(CreateRequest, CreateResponse) = CREATE since V1_0, idempotent: false;
    CreateKeyPair(CreateKeyPairRequest, CreateKeyPairResponse) = CREATE_KEY_PAIR since V1_0, idempotent: false;
    Register(RegisterRequest, RegisterResponse) = REGISTER since V1_0, idempotent: false;
    ReKey(ReKeyRequest, ReKeyResponse) = RE_KEY since V1_0, idempotent: false;
    ReKeyKeyPair(ReKeyKeyPairRequest, ReKeyKeyPairResponse) = RE_KEY_KEY_PAIR since V1_1, idempotent: false;
    DeriveKey(DeriveKeyRequest, DeriveKeyResponse) = DERIVE_KEY since V1_0, idempotent: false;
    Certify(CertifyRequest, CertifyResponse) = CERTIFY since V1_0, idempotent: false;
    ReCertify(ReCertifyRequest, ReCertifyResponse) = RE_CERTIFY since V1_0, idempotent: false;
    Locate(LocateRequest, LocateResponse) = LOCATE since V1_0, idempotent: true;
    Check(CheckRequest, CheckResponse) = CHECK since V1_0, idempotent: true;
    Get(GetRequest, GetResponse) = GET since V1_0, idempotent: true;
    GetAttributes(GetAttributesRequest, GetAttributesResponse) = GET_ATTRIBUTES since V1_0, idempotent: true;
    GetAttributeList(GetAttributeListRequest, GetAttributeListResponse) = GET_ATTRIBUTE_LIST since V1_0, idempotent: true;
    AddAttribute(AddAttributeRequest, AddAttributeResponse) = ADD_ATTRIBUTE since V1_0, idempotent: false;
    ModifyAttribute(ModifyAttributeRequest, ModifyAttributeResponse) = MODIFY_ATTRIBUTE since V1_0, idempotent: true;
    DeleteAttribute(DeleteAttributeRequest, DeleteAttributeResponse) = DELETE_ATTRIBUTE since V1_0, idempotent: false;
    SetAttribute(SetAttributeRequest, SetAttributeResponse) = SET_ATTRIBUTE since V2_0, idempotent: true;
    AdjustAttribute(AdjustAttributeRequest, AdjustAttributeResponse) = ADJUST_ATTRIBUTE since V2_0, idempotent: false;
    ObtainLease(ObtainLeaseRequest, ObtainLeaseResponse) = OBTAIN_LEASE since V1_0, idempotent: false;
    GetUsageAllocation(GetUsageAllocationRequest, GetUsageAllocationResponse)
        = GET_USAGE_ALLOCATION since V1_0, idempotent: false;
    Activate(ActivateRequest, ActivateResponse) = ACTIVATE since V1_0, idempotent: true;
    Revoke(RevokeRequest, RevokeResponse) = REVOKE since V1_0, idempotent: true;
    Destroy(DestroyRequest, DestroyResponse) = DESTROY since V1_0, idempotent: true;
    Archive(ArchiveRequest, ArchiveResponse) = ARCHIVE since V1_0, idempotent: true;
    Recover(RecoverRequest, RecoverResponse) = RECOVER since V1_0, idempotent: true;
    Validate(ValidateRequest, ValidateResponse) = VALIDATE since V1_0, idempotent: true;
    Query(QueryRequest, QueryResponse) = QUERY since V1_0, idempotent: true;
    DiscoverVersions(DiscoverVersionsRequest, DiscoverVersionsResponse) = DISCOVER_VERSIONS since V1_1, idempotent: true;
    Cancel(CancelRequest, CancelResponse) = CANCEL since V1_0, idempotent: true;
    Poll(PollRequest, PollResponse) = POLL since V1_0, idempotent: true;
    Notify(NotifyRequest, NotifyResponse) = NOTIFY since V1_0, idempotent: false;
    Put(PutRequest, PutResponse) = PUT since V1_0, idempotent: false;
    Encrypt(EncryptRequest, EncryptResponse) = ENCRYPT since V1_2, idempotent: true;
    Decrypt(DecryptRequest, DecryptResponse) = DECRYPT since V1_2, idempotent: true;
    Sign(SignRequest, SignResponse) = SIGN since V1_2, idempotent: true;
    SignatureVerify(SignatureVerifyRequest, SignatureVerifyResponse) = SIGNATURE_VERIFY since V1_2, idempotent: true;
    Mac(MacRequest, MacResponse) = MAC since V1_2, idempotent: true;
    MacVerify(MacVerifyRequest, MacVerifyResponse) = MAC_VERIFY since V1_2, idempotent: true;
    RngRetrieve(RngRetrieveRequest, RngRetrieveResponse) = RNG_RETRIEVE since V1_2, idempotent: true;
    RngSeed(RngSeedRequest, RngSeedResponse) = RNG_SEED since V1_2, idempotent: true;
    Hash(HashRequest, HashResponse) = HASH since V1_2, idempotent: true;
    CreateSplitKey(CreateSplitKeyRequest, CreateSplitKeyResponse) = CREATE_SPLIT_KEY since V1_2, idempotent: false;
    JoinSplitKey(JoinSplitKeyRequest, JoinSplitKeyResponse) = JOIN_SPLIT_KEY since V1_2, idempotent: false;
    Import(ImportRequest, ImportResponse) = IMPORT since V1_4, idempotent: false;
    Export(ExportRequest, ExportResponse) = EXPORT since V1_4, idempotent: true;
    Ping(PingRequest, PingResponse) = PING since V2_1, idempotent: true;
}
