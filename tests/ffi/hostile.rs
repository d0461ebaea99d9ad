//! Templates and mechanisms that make no sense: no crash, no panic, no session that is stuck afterwards.

use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::host::{Host, USER_PIN, alone, ck, mechanism};

/// An attribute: its type and its value; `None` is NULL with a length.
type Row = (CK_ATTRIBUTE_TYPE, Option<Vec<u8>>);

const KNOWN: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_CLASS,
    CKA_TOKEN,
    CKA_PRIVATE,
    CKA_LABEL,
    CKA_ID,
    CKA_VALUE,
    CKA_VALUE_LEN,
    CKA_KEY_TYPE,
    CKA_SENSITIVE,
    CKA_EXTRACTABLE,
    CKA_ENCRYPT,
    CKA_SIGN,
    CKA_MODULUS,
    CKA_MODULUS_BITS,
    CKA_PUBLIC_EXPONENT,
    CKA_PRIVATE_EXPONENT,
    CKA_EC_PARAMS,
    CKA_EC_POINT,
    CKA_CERTIFICATE_TYPE,
    CKA_SUBJECT,
    CKA_START_DATE,
    CKA_ALLOWED_MECHANISMS,
    CKA_ALWAYS_AUTHENTICATE,
    CKA_CHECK_VALUE,
    CKA_UNIQUE_ID,
    CKA_APPLICATION,
];

fn number(values: &'static [CK_ULONG]) -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(values).prop_map(|value| value.to_ne_bytes().to_vec())
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let kind = prop_oneof![9 => prop::sample::select(KNOWN), 1 => any::<CK_ATTRIBUTE_TYPE>()]
        // Values that are templates themselves would be followed: raw/tests.rs has those.
        .prop_filter("an array of rows", |kind| {
            kind & CKF_ARRAY_ATTRIBUTE == 0 || *kind == CKA_ALLOWED_MECHANISMS
        });
    let value = prop_oneof![
        1 => Just(None),
        3 => prop::sample::select(vec![vec![0u8], vec![1]]).prop_map(Some),
        4 => number(&[0, 1, 2, 3, 4, 5, 16, 24, 32, CKK_AES, CKK_EC_EDWARDS, CKK_GENERIC_SECRET, CK_ULONG::MAX]).prop_map(Some),
        2 => vec(any::<u8>(), 0..80).prop_map(Some),
    ];
    vec((kind, value), 0..10)
}

/// A mechanism: which of the token's, or any other; and a parameter. No structure of the standard has the size of the random
/// ones, and the others are all zeros: pointers in a parameter cannot be hostile, they can only be wrong.
fn mechanisms() -> impl Strategy<Value = (prop::sample::Index, Option<CK_MECHANISM_TYPE>, Vec<u8>)>
{
    let odd = prop_oneof![1..8usize, 9..16usize].prop_flat_map(|len| vec(any::<u8>(), len));
    let zeros = (0..100usize).prop_map(|len| vec![0; len]);
    (
        any::<prop::sample::Index>(),
        prop::option::weighted(0.1, any::<CK_MECHANISM_TYPE>()),
        prop_oneof![odd, zeros],
    )
}

fn attributes(rows: &mut [Row]) -> Vec<CK_ATTRIBUTE> {
    let attribute = |(kind, value): &mut Row| {
        let (at, len) = value
            .as_mut()
            .map_or((null_mut(), 9), |value| (value.as_mut_ptr(), value.len()));
        CK_ATTRIBUTE {
            type_: *kind,
            pValue: at.cast(),
            ulValueLen: len as CK_ULONG,
        }
    };
    rows.iter_mut().map(attribute).collect()
}

struct Bench<'a> {
    host: &'a Host,
    slot: CK_SLOT_ID,
    mechanisms: Vec<CK_MECHANISM_TYPE>,
}

impl Bench<'_> {
    /// Everything that takes a template or a mechanism, in a session of its own.
    fn try_all(
        &self,
        rows: &mut [Row],
        kind: CK_MECHANISM_TYPE,
        parameter: &mut [u8],
    ) -> Result<(), TestCaseError> {
        let host = self.host;
        let session = host.open(self.slot);
        let key = host.aes_key(session);
        let mut template = attributes(rows);
        let (at, count) = (template.as_mut_ptr(), template.len() as CK_ULONG);
        let parameter_len = parameter.len() as CK_ULONG;
        let mut mechanism = CK_MECHANISM {
            mechanism: kind,
            pParameter: parameter.as_mut_ptr().cast(),
            ulParameterLen: parameter_len,
        };
        let m = &raw mut mechanism;
        let (mut one, mut two, mut data, mut out) = (0, 0, [5u8; 40], [0u8; 4096]);
        let room = || 4096 as CK_ULONG;
        let results = [
            ck!(host.C_CreateObject(session, at, count, &mut one)),
            ck!(host.C_CopyObject(session, key, at, count, &mut one)),
            ck!(host.C_SetAttributeValue(session, key, at, count)),
            ck!(host.C_GetAttributeValue(session, key, at, count)),
            ck!(host.C_FindObjectsInit(session, at, count)),
            ck!(host.C_FindObjectsFinal(session)),
            ck!(host.C_GenerateKey(session, m, at, count, &mut one)),
            ck!(host.C_UnwrapKey(session, m, key, data.as_mut_ptr(), 40, at, count, &mut one)),
            ck!(host.C_DeriveKey(session, m, key, at, count, &mut one)),
            ck!(host.C_WrapKey(session, m, key, key, out.as_mut_ptr(), &mut room())),
            ck!(host.C_EncryptInit(session, m, key)),
            ck!(host.C_Encrypt(
                session,
                data.as_mut_ptr(),
                40,
                out.as_mut_ptr(),
                &mut room()
            )),
            ck!(host.C_DecryptInit(session, m, key)),
            ck!(host.C_Decrypt(
                session,
                data.as_mut_ptr(),
                40,
                out.as_mut_ptr(),
                &mut room()
            )),
            ck!(host.C_SignInit(session, m, key)),
            ck!(host.C_Sign(
                session,
                data.as_mut_ptr(),
                40,
                out.as_mut_ptr(),
                &mut room()
            )),
            ck!(host.C_VerifyInit(session, m, key)),
            ck!(host.C_Verify(session, data.as_mut_ptr(), 40, data.as_mut_ptr(), 40)),
            ck!(host.C_DigestInit(session, m)),
            ck!(host.C_Digest(
                session,
                data.as_mut_ptr(),
                40,
                out.as_mut_ptr(),
                &mut room()
            )),
        ];
        prop_assert!(!results.contains(&CKR_GENERAL_ERROR), "{results:x?}");
        if kind != CKM_RSA_PKCS_KEY_PAIR_GEN {
            let rv =
                ck!(host.C_GenerateKeyPair(session, m, at, count, at, count, &mut one, &mut two));
            prop_assert_ne!(rv, CKR_GENERAL_ERROR);
        }
        let (mut sha256, mut len) = (self::mechanism(CKM_SHA256), 32);
        prop_assert_eq!(
            ck!(host.C_DigestInit(session, &mut sha256)),
            CKR_OK,
            "the session is stuck"
        );
        prop_assert_eq!(
            ck!(host.C_Digest(session, data.as_mut_ptr(), 40, out.as_mut_ptr(), &mut len)),
            CKR_OK
        );
        prop_assert_eq!(ck!(host.C_CloseSession(session)), CKR_OK);
        Ok(())
    }
}

#[test]
fn senseless_templates_and_mechanisms_are_refused_in_peace() {
    alone(|host| {
        host.initialize();
        let slot = host.make_token();
        let keeper = host.open(slot);
        assert_eq!(host.login(keeper, CKU_USER, USER_PIN), CKR_OK);
        let mut count = 0;
        assert_eq!(
            ck!(host.C_GetMechanismList(slot, null_mut(), &mut count)),
            CKR_OK
        );
        let mut mechanisms_of_token = vec![0; count as usize];
        assert_eq!(
            ck!(host.C_GetMechanismList(slot, mechanisms_of_token.as_mut_ptr(), &mut count)),
            CKR_OK
        );
        let bench = Bench {
            host,
            slot,
            mechanisms: mechanisms_of_token,
        };
        let config = Config {
            cases: 300,
            failure_persistence: None,
            ..Config::default()
        };
        let strategy = (rows(), mechanisms());
        let result =
            TestRunner::new(config).run(&strategy, |(mut rows, (index, other, mut parameter))| {
                let kind = other.unwrap_or_else(|| *index.get(&bench.mechanisms));
                bench.try_all(&mut rows, kind, &mut parameter)
            });
        result.unwrap_or_else(|error| panic!("{error}"));
        host.finalize();
    });
}
