//! Operations with keys that stay on the server: what parameters choose, by the standards' vectors, and why they are refused.

use super::*;

fn active() -> Attributes {
    usage().with(AttributeValue::ActivationDate(DateTime(1)))
}

fn secret_key(server: &Server, algorithm: CryptographicAlgorithm, value: &[u8], attributes: Attributes) -> String {
    let bits = 8 * value.len() as i32;
    let key_block = KeyBlock::of_bytes(KeyFormatType::RAW, algorithm, bits, Secret::new(value.to_vec()));
    server.register(Version::V2_1, ManagedObject::SymmetricKey(SymmetricKey { key_block }), attributes).unwrap()
}

/// The reasons of spec 2.1, 6.1.11.1 and its like; before 2.0 there is one for all.
#[test]
fn a_key_that_may_not_is_refused_with_the_reason_of_the_version() {
    let server = Server::new();
    let mask = |mask| Attributes::new().with(AttributeValue::CryptographicUsageMask(mask));
    let date = |attributes: Attributes, make: fn(DateTime) -> AttributeValue, date| attributes.with(make(DateTime(date)));
    let (past, future) = (1, i64::from(i32::MAX) * 4);
    let young = usage();
    let stopped = date(active(), AttributeValue::ProtectStopDate, past);
    let early = date(active(), AttributeValue::ProcessStartDate, future);
    let signs = date(mask(CryptographicUsageMask::SIGN), AttributeValue::ActivationDate, past);
    let [young, stopped, early, signs] =
        [young, stopped, early, signs].map(|attributes| secret_key(&server, CryptographicAlgorithm::AES, &[5; 16], attributes));
    let decrypt = |uid: &str| DecryptRequest {
        unique_identifier: id(uid),
        cryptographic_parameters: ecb(uid, &[]).cryptographic_parameters,
        data: Some(vec![0; 16]),
        ..DecryptRequest::default()
    };
    for version in [Version::V1_2, Version::V1_4, Version::V2_0, Version::V2_1] {
        let of_2 = |reason| if version.typed_attributes() { reason } else { ResultReason::PERMISSION_DENIED };
        let state = of_2(ResultReason::WRONG_KEY_LIFECYCLE_STATE);
        for uid in [&young, &stopped] {
            assert_eq!(server.ask(version, &ecb(uid, &[0; 16])).err(), Some(state));
        }
        for uid in [&young, &early] {
            assert_eq!(server.ask(version, &decrypt(uid)).err(), Some(state));
        }
        assert!(server.ask(version, &ecb(&early, &[0; 16])).is_ok() && server.ask(version, &decrypt(&stopped)).is_ok());
        let usage = of_2(ResultReason::INCOMPATIBLE_CRYPTOGRAPHIC_USAGE_MASK);
        assert_eq!(server.ask(version, &ecb(&signs, &[0; 16])).err(), Some(usage));
        if version >= Version::V1_3 {
            let unknown = EncryptRequest { correlation_value: Some(vec![1]), ..ecb(&young, &[0; 16]) };
            let reason = match version.typed_attributes() {
                true => ResultReason::INVALID_CORRELATION_VALUE,
                false => ResultReason::INVALID_FIELD,
            };
            assert_eq!(server.ask(version, &unknown).err(), Some(reason));
        }
    }
}
