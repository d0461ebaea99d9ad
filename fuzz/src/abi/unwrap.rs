//! Keys as somebody else wrapped them: what is wrapped is any bytes, so that the parsers behind the wrapping are reached.

use std::ptr::null_mut;

use mrhsm_pkcs11::ck::*;

use super::template::{self, Given, Row};
use super::{Bench, Run, may_return};

/// Mechanisms that encrypt bytes as they wrap keys.
const WRAPPINGS: &[(CK_MECHANISM_TYPE, usize)] = &[
    (CKM_AES_KEY_WRAP_KWP, 0),
    (CKM_AES_KEY_WRAP, 0),
    (CKM_AES_KEY_WRAP_PKCS7, 0),
    (CKM_AES_CBC_PAD, 16),
    (CKM_AES_CBC, 16),
];

const KINDS: &[(CK_OBJECT_CLASS, CK_KEY_TYPE)] = &[
    (CKO_PRIVATE_KEY, CKK_RSA),
    (CKO_PRIVATE_KEY, CKK_EC),
    (CKO_PRIVATE_KEY, CKK_EC_EDWARDS),
    (CKO_PRIVATE_KEY, CKK_EC_MONTGOMERY),
    (CKO_SECRET_KEY, CKK_AES),
    (CKO_SECRET_KEY, CKK_GENERIC_SECRET),
    (CKO_SECRET_KEY, CKK_DES3),
    (CKO_SECRET_KEY, CKK_CHACHA20),
    (CKO_SECRET_KEY, CKK_SHA256_HMAC),
];

/// What is asked of a key that was unwrapped.
const ASKED: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_VALUE,
    CKA_VALUE_LEN,
    CKA_CHECK_VALUE,
    CKA_MODULUS,
    CKA_PUBLIC_EXPONENT,
    CKA_PRIVATE_EXPONENT,
    CKA_PRIME_1,
    CKA_COEFFICIENT,
    CKA_EC_PARAMS,
    CKA_PUBLIC_KEY_INFO,
];

impl Bench {
    /// The first bytes choose the wrapping, the kind of key and what the template says; the others are what is wrapped.
    pub fn unwrap(&self, bytes: &[u8]) {
        self.alone(bytes, |run| run.unwrap());
    }
}

impl Run<'_> {
    fn unwrap(&mut self) {
        let (table, session) = (&self.bench.table, self.session);
        let (mechanism, iv) = self.input.pick(WRAPPINGS);
        let (class, kind) = self.input.pick(KINDS);
        let spoilt = self.input.once_in(4);
        let raw = self.input.once_in(16);
        let aes = self.bench.keys.iter().find(|kept| kept.0 == CKK_AES);
        let wrapping = aes.expect("the bench has an AES key").1;
        let rows = [
            Row::number(CKA_CLASS, class),
            Row::number(CKA_KEY_TYPE, kind),
            Row::flag(CKA_SENSITIVE, false),
            Row::flag(CKA_EXTRACTABLE, true),
        ];
        let Given { at, count } = if spoilt {
            template::spoilt(&rows, &mut self.input, &mut self.memory)
        } else {
            template::spoilt(&rows, &mut super::Input(&[]), &mut self.memory)
        };
        let iv_len = iv as CK_ULONG;
        let mut mechanism = CK_MECHANISM {
            mechanism,
            pParameter: match iv {
                0 => null_mut(),
                _ => self.memory.array(vec![1_u8; iv]).cast(),
            },
            ulParameterLen: iv_len,
        };
        let mut wrapped = self.input.0.to_vec();
        self.input.0 = &[];
        if !raw && let Some(encrypted) = self.encrypted(&mut mechanism, wrapping, &mut wrapped) {
            wrapped = encrypted;
        }
        let (before, mut made) = (self.bench.objects(), 0);
        let len = wrapped.len() as CK_ULONG;
        let wrapped = self.memory.array(wrapped);
        let rv = call!(
            table,
            C_UnwrapKey(
                session,
                &mut mechanism,
                wrapping,
                wrapped,
                len,
                at,
                count,
                &mut made
            )
        );
        self.makes("C_UnwrapKey", &before, rv, &[made]);
        if rv == CKR_OK {
            self.use_it(made, kind);
        }
    }

    /// `bytes` under a key of the bench; `None` where the mechanism does not take so many.
    fn encrypted(
        &self,
        mechanism: &mut CK_MECHANISM,
        key: CK_OBJECT_HANDLE,
        bytes: &mut [u8],
    ) -> Option<Vec<u8>> {
        let (table, session) = (&self.bench.table, self.session);
        if call!(table, C_EncryptInit(session, mechanism, key)) != CKR_OK {
            return None;
        }
        let mut out = vec![0; bytes.len() + 64];
        let mut len = out.len() as CK_ULONG;
        let rv = call!(
            table,
            C_Encrypt(
                session,
                bytes.as_mut_ptr(),
                bytes.len() as CK_ULONG,
                out.as_mut_ptr(),
                &mut len
            )
        );
        out.truncate(len as usize);
        (rv == CKR_OK).then_some(out)
    }

    /// Reads every part of a key, and uses it.
    fn use_it(&mut self, key: CK_OBJECT_HANDLE, kind: CK_KEY_TYPE) {
        let (table, session) = (&self.bench.table, self.session);
        for attribute in ASKED {
            self.bench.value(key, *attribute);
        }
        let mechanism = match kind {
            CKK_RSA => CKM_SHA256_RSA_PKCS,
            CKK_EC => CKM_ECDSA_SHA256,
            CKK_EC_EDWARDS => CKM_EDDSA,
            CKK_SHA256_HMAC | CKK_GENERIC_SECRET => CKM_SHA256_HMAC,
            _ => CKM_AES_CMAC,
        };
        let mut mechanism = CK_MECHANISM {
            mechanism,
            pParameter: null_mut(),
            ulParameterLen: 0,
        };
        if call!(table, C_SignInit(session, &mut mechanism, key)) == CKR_OK {
            let (mut data, mut out, mut len) = ([7; 32], vec![0; 4096], 4096);
            call!(
                table,
                C_Sign(session, data.as_mut_ptr(), 32, out.as_mut_ptr(), &mut len)
            );
        }
    }
}
