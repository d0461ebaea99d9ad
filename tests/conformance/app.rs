//! An application in few words: calls of the C functions with slices, templates and results.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::time::Duration;

use mrhsm_pkcs11::ck::*;

use crate::ffi::host::{Host, USER_PIN, ck, kmip_token};
use crate::kmip_server::{Personality, Script, Server};

/// The variable that names the personality of the server on which all objects are to be, instead of in files and sessions.
pub const SERVER: &str = "MRHSM_TEST_SERVER";

/// What a call returned.
pub type Rv<T> = Result<T, CK_RV>;

/// Rows of a template.
pub type Rows = Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>;

/// A value that an attribute can have.
pub trait Value {
    fn bytes(self) -> Vec<u8>;
}

impl Value for bool {
    fn bytes(self) -> Vec<u8> {
        vec![if self { CK_TRUE } else { CK_FALSE }]
    }
}

impl Value for CK_ULONG {
    fn bytes(self) -> Vec<u8> {
        self.to_ne_bytes().to_vec()
    }
}

impl Value for &[u8] {
    fn bytes(self) -> Vec<u8> {
        self.to_vec()
    }
}

impl<const N: usize> Value for &[u8; N] {
    fn bytes(self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Value for Vec<u8> {
    fn bytes(self) -> Vec<u8> {
        self
    }
}

/// A template: `rows![CKA_CLASS: CKO_DATA, CKA_TOKEN: true]`, or one that goes on from another: `rows![; base, CKA_TOKEN: true]`.
macro_rules! rows {
    (; $base:expr $(, $kind:ident: $value:expr)* $(,)?) => {{
        let mut rows: $crate::conformance::app::Rows = $base.clone();
        rows.extend($crate::conformance::app::rows![$($kind: $value),*]);
        rows
    }};
    ($($kind:ident: $value:expr),* $(,)?) => {
        vec![$(($kind, $crate::conformance::app::Value::bytes($value))),*] as $crate::conformance::app::Rows
    };
}
pub(crate) use rows;

/// A mechanism with its parameter, and what the parameter points to.
#[derive(Clone)]
pub struct Mech {
    pub kind: CK_MECHANISM_TYPE,
    pub parameter: Vec<u8>,
}

impl Mech {
    /// Without a parameter.
    pub fn bare(kind: CK_MECHANISM_TYPE) -> Mech {
        Mech {
            kind,
            parameter: Vec::new(),
        }
    }

    /// With bytes, an IV mostly.
    pub fn iv(kind: CK_MECHANISM_TYPE, iv: &[u8]) -> Mech {
        Mech {
            kind,
            parameter: iv.to_vec(),
        }
    }

    /// With a structure. What it points to must outlive the mechanism: constants do.
    pub fn with<T: Copy>(kind: CK_MECHANISM_TYPE, parameter: T) -> Mech {
        // SAFETY: a structure of the standard, read as the bytes it has.
        let bytes = unsafe {
            std::slice::from_raw_parts((&raw const parameter).cast::<u8>(), size_of::<T>())
        };
        Mech {
            kind,
            parameter: bytes.to_vec(),
        }
    }

    pub fn raw(&self) -> CK_MECHANISM {
        let at = if self.parameter.is_empty() {
            null_mut()
        } else {
            self.parameter.as_ptr().cast_mut().cast::<c_void>()
        };
        CK_MECHANISM {
            mechanism: self.kind,
            pParameter: at,
            ulParameterLen: self.parameter.len() as CK_ULONG,
        }
    }
}

impl From<CK_MECHANISM_TYPE> for Mech {
    fn from(kind: CK_MECHANISM_TYPE) -> Mech {
        Mech::bare(kind)
    }
}

/// A pointer to constant bytes, as parameters have it.
pub fn at(bytes: &'static [u8]) -> *mut CK_BYTE {
    bytes.as_ptr().cast_mut()
}

fn result(rv: CK_RV) -> Rv<()> {
    if rv == CKR_OK { Ok(()) } else { Err(rv) }
}

fn attributes(rows: &Rows) -> Vec<CK_ATTRIBUTE> {
    let row = |(kind, value): &(CK_ATTRIBUTE_TYPE, Vec<u8>)| CK_ATTRIBUTE {
        type_: *kind,
        pValue: value.as_ptr().cast_mut().cast(),
        ulValueLen: value.len() as CK_ULONG,
    };
    rows.iter().map(row).collect()
}

/// Data by pointer and length; nothing is NULL and 0.
pub fn input(data: &[u8]) -> (*mut CK_BYTE, CK_ULONG) {
    (
        if data.is_empty() {
            null_mut()
        } else {
            data.as_ptr().cast_mut()
        },
        data.len() as CK_ULONG,
    )
}

/// Output by the two-call convention: the length is asked for, the bytes must not be more, and nothing is written behind them.
pub fn output(mut call: impl FnMut(*mut CK_BYTE, *mut CK_ULONG) -> CK_RV) -> Rv<Vec<u8>> {
    let mut len = 0;
    result(call(null_mut(), &mut len))?;
    let most = len as usize;
    let mut bytes = vec![0xa5; most + 16];
    result(call(bytes.as_mut_ptr(), &mut len))?;
    assert!(
        len as usize <= most,
        "{len} bytes where {most} were announced"
    );
    assert!(
        bytes[most..].iter().all(|b| *b == 0xa5),
        "written behind the buffer"
    );
    bytes.truncate(len as usize);
    Ok(bytes)
}

/// A session of an application.
#[derive(Clone, Copy)]
pub struct App<'a> {
    pub host: &'a Host,
    pub session: CK_SESSION_HANDLE,
}

impl<'a> App<'a> {
    pub fn create(&self, rows: &Rows) -> Rv<CK_OBJECT_HANDLE> {
        let rows = lasting(rows);
        let (host, mut t, mut object) = (self.host, attributes(&rows), 0);
        let n = t.len() as CK_ULONG;
        result(ck!(host.C_CreateObject(
            self.session,
            t.as_mut_ptr(),
            n,
            &mut object
        )))?;
        Ok(object)
    }

    pub fn copy(&self, object: CK_OBJECT_HANDLE, rows: &Rows) -> Rv<CK_OBJECT_HANDLE> {
        let (host, mut t, mut copy) = (self.host, attributes(rows), 0);
        let n = t.len() as CK_ULONG;
        result(ck!(host.C_CopyObject(
            self.session,
            object,
            t.as_mut_ptr(),
            n,
            &mut copy
        )))?;
        Ok(copy)
    }

    pub fn destroy(&self, object: CK_OBJECT_HANDLE) -> Rv<()> {
        let host = self.host;
        result(ck!(host.C_DestroyObject(self.session, object)))
    }

    pub fn set(&self, object: CK_OBJECT_HANDLE, rows: &Rows) -> Rv<()> {
        let (host, mut t) = (self.host, attributes(rows));
        let n = t.len() as CK_ULONG;
        result(ck!(host.C_SetAttributeValue(
            self.session,
            object,
            t.as_mut_ptr(),
            n
        )))
    }

    pub fn get(&self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> Rv<Vec<u8>> {
        let host = self.host;
        output(|at, len| {
            // SAFETY: `output`'s own variable.
            let len = unsafe { &mut *len };
            let mut row = CK_ATTRIBUTE {
                type_: kind,
                pValue: at.cast(),
                ulValueLen: if at.is_null() { 0 } else { *len },
            };
            let rv = ck!(host.C_GetAttributeValue(self.session, object, &mut row, 1));
            *len = row.ulValueLen;
            rv
        })
    }

    pub fn flag(&self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> bool {
        match self.get(object, kind).as_deref() {
            Ok([CK_TRUE]) => true,
            Ok([CK_FALSE]) => false,
            other => panic!("{kind:#x} is no flag: {other:x?}"),
        }
    }

    pub fn number(&self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> CK_ULONG {
        CK_ULONG::from_ne_bytes(self.get(object, kind).unwrap().try_into().unwrap())
    }

    pub fn find(&self, rows: &Rows) -> Rv<Vec<CK_OBJECT_HANDLE>> {
        let (host, mut t, mut found) = (self.host, attributes(rows), Vec::new());
        let n = t.len() as CK_ULONG;
        result(ck!(host.C_FindObjectsInit(self.session, t.as_mut_ptr(), n)))?;
        loop {
            // Few at a time, so that there are several calls.
            let (mut some, mut count) = ([0; 3], 0);
            result(ck!(host.C_FindObjects(
                self.session,
                some.as_mut_ptr(),
                3,
                &mut count
            )))?;
            if count == 0 {
                break;
            }
            found.extend_from_slice(&some[..count as usize]);
        }
        result(ck!(host.C_FindObjectsFinal(self.session)))?;
        Ok(found)
    }

    pub fn generate(&self, m: impl Into<Mech>, rows: &Rows) -> Rv<CK_OBJECT_HANDLE> {
        let rows = lasting(rows);
        let (host, m, mut t, mut key) = (self.host, m.into(), attributes(&rows), 0);
        let n = t.len() as CK_ULONG;
        result(ck!(host.C_GenerateKey(
            self.session,
            &mut m.raw(),
            t.as_mut_ptr(),
            n,
            &mut key
        )))?;
        Ok(key)
    }

    /// (public, private)
    pub fn pair(
        &self,
        m: impl Into<Mech>,
        public: &Rows,
        private: &Rows,
    ) -> Rv<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
        let (host, m, mut keys) = (self.host, m.into(), (0, 0));
        let (public, private) = (lasting(public), lasting(private));
        let (mut a, mut b) = (attributes(&public), attributes(&private));
        let (at, n, bt, k) = (
            a.as_mut_ptr(),
            a.len() as CK_ULONG,
            b.as_mut_ptr(),
            b.len() as CK_ULONG,
        );
        result(ck!(host.C_GenerateKeyPair(
            self.session,
            &mut m.raw(),
            at,
            n,
            bt,
            k,
            &mut keys.0,
            &mut keys.1
        )))?;
        Ok(keys)
    }

    /// A session key of random bytes, open to look at.
    pub fn secret(&self, key_type: CK_KEY_TYPE, value: &[u8]) -> CK_OBJECT_HANDLE {
        let flags = rows![CKA_SENSITIVE: false, CKA_EXTRACTABLE: true, CKA_DERIVE: true];
        let mut rows =
            rows![; flags, CKA_CLASS: CKO_SECRET_KEY, CKA_KEY_TYPE: key_type, CKA_VALUE: value];
        if matches!(key_type, CKK_AES | CKK_AES_XTS | CKK_DES3 | CKK_CHACHA20) {
            rows.extend(
                rows![CKA_ENCRYPT: true, CKA_DECRYPT: true, CKA_WRAP: true, CKA_UNWRAP: true],
            );
        }
        self.create(&rows).unwrap()
    }

    pub fn aes(&self) -> CK_OBJECT_HANDLE {
        self.secret(CKK_AES, &[7; 32])
    }

    pub fn encrypt_init(&self, m: impl Into<Mech>, key: CK_OBJECT_HANDLE) -> Rv<()> {
        let (host, m) = (self.host, m.into());
        result(ck!(host.C_EncryptInit(self.session, &mut m.raw(), key)))
    }

    pub fn decrypt_init(&self, m: impl Into<Mech>, key: CK_OBJECT_HANDLE) -> Rv<()> {
        let (host, m) = (self.host, m.into());
        result(ck!(host.C_DecryptInit(self.session, &mut m.raw(), key)))
    }

    pub fn sign_init(&self, m: impl Into<Mech>, key: CK_OBJECT_HANDLE) -> Rv<()> {
        let (host, m) = (self.host, m.into());
        result(ck!(host.C_SignInit(self.session, &mut m.raw(), key)))
    }

    pub fn verify_init(&self, m: impl Into<Mech>, key: CK_OBJECT_HANDLE) -> Rv<()> {
        let (host, m) = (self.host, m.into());
        result(ck!(host.C_VerifyInit(self.session, &mut m.raw(), key)))
    }

    pub fn digest_init(&self, m: impl Into<Mech>) -> Rv<()> {
        let (host, m) = (self.host, m.into());
        result(ck!(host.C_DigestInit(self.session, &mut m.raw())))
    }

    pub fn encrypt(&self, m: impl Into<Mech>, key: CK_OBJECT_HANDLE, data: &[u8]) -> Rv<Vec<u8>> {
        self.encrypt_init(m, key)?;
        self.encrypt_now(data)
    }

    pub fn encrypt_now(&self, data: &[u8]) -> Rv<Vec<u8>> {
        let (host, (at, n)) = (self.host, input(data));
        output(|out, len| ck!(host.C_Encrypt(self.session, at, n, out, len)))
    }

    pub fn decrypt(&self, m: impl Into<Mech>, key: CK_OBJECT_HANDLE, data: &[u8]) -> Rv<Vec<u8>> {
        self.decrypt_init(m, key)?;
        self.decrypt_now(data)
    }

    pub fn decrypt_now(&self, data: &[u8]) -> Rv<Vec<u8>> {
        let (host, (at, n)) = (self.host, input(data));
        output(|out, len| ck!(host.C_Decrypt(self.session, at, n, out, len)))
    }

    pub fn sign(&self, m: impl Into<Mech>, key: CK_OBJECT_HANDLE, data: &[u8]) -> Rv<Vec<u8>> {
        self.sign_init(m, key)?;
        self.sign_now(data)
    }

    pub fn sign_now(&self, data: &[u8]) -> Rv<Vec<u8>> {
        let (host, (at, n)) = (self.host, input(data));
        output(|out, len| ck!(host.C_Sign(self.session, at, n, out, len)))
    }

    pub fn verify(
        &self,
        m: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        signature: &[u8],
    ) -> Rv<()> {
        self.verify_init(m, key)?;
        let (host, (at, n), (sig, len)) = (self.host, input(data), input(signature));
        result(ck!(host.C_Verify(self.session, at, n, sig, len)))
    }

    pub fn digest(&self, m: impl Into<Mech>, data: &[u8]) -> Rv<Vec<u8>> {
        self.digest_init(m)?;
        let (host, (at, n)) = (self.host, input(data));
        output(|out, len| ck!(host.C_Digest(self.session, at, n, out, len)))
    }

    /// Encrypts in parts of `size` bytes.
    pub fn encrypt_parts(
        &self,
        m: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        size: usize,
    ) -> Rv<Vec<u8>> {
        self.encrypt_init(m, key)?;
        let (host, mut all) = (self.host, Vec::new());
        for part in data.chunks(size) {
            let (at, n) = input(part);
            all.extend(output(|out, len| {
                ck!(host.C_EncryptUpdate(self.session, at, n, out, len))
            })?);
        }
        all.extend(output(|out, len| {
            ck!(host.C_EncryptFinal(self.session, out, len))
        })?);
        Ok(all)
    }

    /// Decrypts in parts of `size` bytes.
    pub fn decrypt_parts(
        &self,
        m: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        size: usize,
    ) -> Rv<Vec<u8>> {
        self.decrypt_init(m, key)?;
        let (host, mut all) = (self.host, Vec::new());
        for part in data.chunks(size) {
            let (at, n) = input(part);
            all.extend(output(|out, len| {
                ck!(host.C_DecryptUpdate(self.session, at, n, out, len))
            })?);
        }
        all.extend(output(|out, len| {
            ck!(host.C_DecryptFinal(self.session, out, len))
        })?);
        Ok(all)
    }

    pub fn sign_parts(
        &self,
        m: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        size: usize,
    ) -> Rv<Vec<u8>> {
        self.sign_init(m, key)?;
        let host = self.host;
        for part in data.chunks(size) {
            let (at, n) = input(part);
            result(ck!(host.C_SignUpdate(self.session, at, n)))?;
        }
        output(|out, len| ck!(host.C_SignFinal(self.session, out, len)))
    }

    pub fn verify_parts(
        &self,
        m: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        data: &[u8],
        signature: &[u8],
        size: usize,
    ) -> Rv<()> {
        self.verify_init(m, key)?;
        let host = self.host;
        for part in data.chunks(size) {
            let (at, n) = input(part);
            result(ck!(host.C_VerifyUpdate(self.session, at, n)))?;
        }
        let (at, n) = input(signature);
        result(ck!(host.C_VerifyFinal(self.session, at, n)))
    }

    pub fn wrap(
        &self,
        m: impl Into<Mech>,
        wrapping: CK_OBJECT_HANDLE,
        key: CK_OBJECT_HANDLE,
    ) -> Rv<Vec<u8>> {
        let (host, m) = (self.host, m.into());
        output(|out, len| ck!(host.C_WrapKey(self.session, &mut m.raw(), wrapping, key, out, len)))
    }

    pub fn unwrap(
        &self,
        m: impl Into<Mech>,
        key: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        rows: &Rows,
    ) -> Rv<CK_OBJECT_HANDLE> {
        let rows = lasting(rows);
        let (host, m, mut t, mut new, (at, len)) =
            (self.host, m.into(), attributes(&rows), 0, input(wrapped));
        let n = t.len() as CK_ULONG;
        result(ck!(host.C_UnwrapKey(
            self.session,
            &mut m.raw(),
            key,
            at,
            len,
            t.as_mut_ptr(),
            n,
            &mut new
        )))?;
        Ok(new)
    }

    pub fn derive(
        &self,
        m: impl Into<Mech>,
        base: CK_OBJECT_HANDLE,
        rows: &Rows,
    ) -> Rv<CK_OBJECT_HANDLE> {
        let rows = lasting(rows);
        let (host, m, mut t, mut new) = (self.host, m.into(), attributes(&rows), 0);
        let n = t.len() as CK_ULONG;
        result(ck!(host.C_DeriveKey(
            self.session,
            &mut m.raw(),
            base,
            t.as_mut_ptr(),
            n,
            &mut new
        )))?;
        Ok(new)
    }

    pub fn login(&self, user: CK_USER_TYPE, pin: &[u8]) -> Rv<()> {
        result(self.host.login(self.session, user, pin))
    }

    pub fn logout(&self) -> Rv<()> {
        let host = self.host;
        result(ck!(host.C_Logout(self.session)))
    }

    pub fn close(&self) -> Rv<()> {
        let host = self.host;
        result(ck!(host.C_CloseSession(self.session)))
    }

    pub fn state(&self) -> CK_STATE {
        let (host, mut info) = (self.host, CK_SESSION_INFO::default());
        assert_eq!(ck!(host.C_GetSessionInfo(self.session, &mut info)), CKR_OK);
        info.state
    }

    pub fn set_pin(&self, old: &[u8], new: &[u8]) -> Rv<()> {
        let (host, (a, n), (b, k)) = (self.host, input(old), input(new));
        result(ck!(host.C_SetPIN(self.session, a, n, b, k)))
    }

    pub fn init_pin(&self, pin: &[u8]) -> Rv<()> {
        let (host, (at, n)) = (self.host, input(pin));
        result(ck!(host.C_InitPIN(self.session, at, n)))
    }
}

/// Opens a session.
pub fn open(host: &Host, slot: CK_SLOT_ID, write: bool) -> Rv<App<'_>> {
    let (mut session, flags) = (
        0,
        CKF_SERIAL_SESSION | if write { CKF_RW_SESSION } else { 0 },
    );
    result(ck!(host.C_OpenSession(
        slot,
        flags,
        null_mut(),
        None,
        &mut session
    )))?;
    Ok(App { host, session })
}

/// `C_InitToken`; the label is blank padded.
pub fn init_token(host: &Host, slot: CK_SLOT_ID, pin: &[u8], label: &str) -> Rv<()> {
    let mut field = [b' '; 32];
    field[..label.len()].copy_from_slice(label.as_bytes());
    let (at, n) = input(pin);
    result(ck!(host.C_InitToken(slot, at, n, field.as_mut_ptr())))
}

/// A server of this kind, and a session of its token's logged-in user.
pub fn served(host: &Host, personality: Personality) -> (Server, CK_SLOT_ID, App<'_>) {
    let server = Server::start(personality, Script::none());
    let slot = kmip_token(server.port(), Duration::from_secs(20));
    host.initialize();
    let app = open(host, slot, true).unwrap();
    app.login(CKU_USER, USER_PIN).unwrap();
    (server, slot, app)
}

/// A token and a read-write session with the user logged in.
pub fn user(host: &Host) -> (CK_SLOT_ID, App<'_>) {
    let Ok(name) = std::env::var(SERVER) else {
        host.initialize();
        let (slot, session) = host.logged_in();
        return (slot, App { host, session });
    };
    let personality = Personality::all()
        .into_iter()
        .find(|p| p.name == name)
        .expect("a personality");
    // It ends with the process.
    let (server, slot, app) = served(host, personality);
    Box::leak(Box::new(server));
    (slot, app)
}

/// The template of a new object: of the token's, where it does not say and the tests are about servers.
fn lasting(rows: &Rows) -> Rows {
    let said = rows.iter().any(|row| row.0 == CKA_TOKEN) || std::env::var_os(SERVER).is_none();
    if said {
        rows.clone()
    } else {
        rows![; rows, CKA_TOKEN: true]
    }
}
