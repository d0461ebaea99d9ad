//! The C ABI: every function of PKCS#11 2.40 and 3.0, from one list.
//!
//! `ck_functions!` makes of each row an exported `C_*` function, its places in the function tables, and its line in
//! [`FUNCTIONS`], which the tests and `docs/PKCS11.md` are checked against. What a function does stands in `calls_*`, by
//! chapter of the standard: arguments in, a method of [`Module`], results out.

use std::ffi::c_void;
use std::sync::Arc;

use crate::ck::*;
use crate::error::Result;
use crate::module::Module;
use crate::process;

mod calls_crypt;
mod calls_digest;
mod calls_general;
mod calls_key;
mod calls_message;
mod calls_object;
mod calls_session;
mod calls_sign;
pub mod guard;
mod interface;
mod raw;
pub mod values;

/// One function of the standard.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The version of the standard that has it first.
    pub since: CK_VERSION,
    /// Names and C types of its arguments.
    pub arguments: &'static [(&'static str, &'static str)],
    /// Why it answers `CKR_FUNCTION_NOT_SUPPORTED`, where it does.
    pub declined: Option<&'static str>,
}

const V2_40: CK_VERSION = CK_VERSION {
    major: 2,
    minor: 40,
};
const V3_0: CK_VERSION = CK_VERSION { major: 3, minor: 0 };

/// `C_Name(arguments) => body;` for a function that we have, `C_Name(arguments) declined "why";` for one that we have not.
macro_rules! ck_functions {
    (
        2.40 { $($name:ident($($arg:ident: $ty:ty),*) $(=> $($body:ident)::+)? $(declined $why:literal)?;)* }
        3.0 { $($name3:ident($($arg3:ident: $ty3:ty),*) $(=> $($body3:ident)::+)? $(declined $why3:literal)?;)* }
    ) => {
        /// Every function of the standard, in its order.
        pub const FUNCTIONS: &[Function] = &[
            $(ck_functions!(@row V2_40, $name($($arg: $ty),*) $(declined $why)?),)*
            $(ck_functions!(@row V3_0, $name3($($arg3: $ty3),*) $(declined $why3)?),)*
        ];

        static TABLE_2_40: CK_FUNCTION_LIST = CK_FUNCTION_LIST { version: V2_40, $($name: Some($name)),* };
        static TABLE_3_0: CK_FUNCTION_LIST_3_0 =
            CK_FUNCTION_LIST_3_0 { version: V3_0, $($name: Some($name),)* $($name3: Some($name3)),* };

        $(ck_functions!(@shim $name($($arg: $ty),*) $(=> $($body)::+)? $(declined $why)?);)*
        $(ck_functions!(@shim $name3($($arg3: $ty3),*) $(=> $($body3)::+)? $(declined $why3)?);)*
    };
    (@row $since:ident, $name:ident($($arg:ident: $ty:ty),*)) => {
        Function {
            name: stringify!($name),
            since: $since,
            arguments: &[$((stringify!($arg), stringify!($ty))),*],
            declined: None,
        }
    };
    (@row $since:ident, $name:ident($($arg:ident: $ty:ty),*) declined $why:literal) => {
        Function { declined: Some($why), ..ck_functions!(@row $since, $name($($arg: $ty),*)) }
    };
    (@shim $name:ident($($arg:ident: $ty:ty),*) => $($body:ident)::+) => {
        #[doc = concat!("`", stringify!($name), "` of PKCS#11.")]
        ///
        /// # Safety
        /// Pointers must be as the standard says for this function; NULL and odd addresses are fine.
        #[allow(non_snake_case, unsafe_code, clippy::too_many_arguments, reason = "a symbol of the C ABI; its pointers go to raw.rs as they are")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> CK_RV {
            guard::call(stringify!($name), || {
                // SAFETY: the caller's promise.
                $($body)::+($(unsafe { raw::Arg::from_c($arg) }),*)
            })
        }
    };
    (@shim $name:ident($($arg:ident: $ty:ty),*) declined $why:literal) => {
        #[doc = concat!("`", stringify!($name), "` of PKCS#11: not supported. ", $why)]
        ///
        /// # Safety
        /// It follows no pointer.
        #[allow(non_snake_case, unsafe_code, clippy::too_many_arguments, reason = "a symbol of the C ABI")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($(_: $ty),*) -> CK_RV {
            guard::call(stringify!($name), || {
                process::module()?;
                Err(CKR_FUNCTION_NOT_SUPPORTED)?
            })
        }
    };
}

ck_functions! {
    2.40 {
        C_Initialize(args: *mut c_void) => calls_general::initialize;
        C_Finalize(reserved: *mut c_void) => calls_general::finalize;
        C_GetInfo(info: *mut CK_INFO) => calls_general::info;
        C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) => interface::function_list;
        C_GetSlotList(present: CK_BBOOL, list: *mut CK_SLOT_ID, count: *mut CK_ULONG) => calls_general::slot_list;
        C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) => calls_general::slot_info;
        C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) => calls_general::token_info;
        C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG)
            => calls_general::mechanism_list;
        C_GetMechanismInfo(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO)
            => calls_general::mechanism_info;
        C_InitToken(slot: CK_SLOT_ID, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG, label: *mut CK_UTF8CHAR)
            => calls_general::init_token;
        C_InitPIN(session: CK_SESSION_HANDLE, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG) => calls_session::init_pin;
        C_SetPIN(
            session: CK_SESSION_HANDLE, old: *mut CK_UTF8CHAR, old_len: CK_ULONG, new: *mut CK_UTF8CHAR, new_len: CK_ULONG
        ) => calls_session::set_pin;
        C_OpenSession(
            slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut c_void, notify: CK_NOTIFY, session: *mut CK_SESSION_HANDLE
        ) => calls_session::open_session;
        C_CloseSession(session: CK_SESSION_HANDLE) => calls_session::close_session;
        C_CloseAllSessions(slot: CK_SLOT_ID) => calls_session::close_all_sessions;
        C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) => calls_session::session_info;
        C_GetOperationState(session: CK_SESSION_HANDLE, state: *mut CK_BYTE, len: *mut CK_ULONG)
            => calls_session::operation_state;
        C_SetOperationState(
            session: CK_SESSION_HANDLE, state: *mut CK_BYTE, len: CK_ULONG, encryption_key: CK_OBJECT_HANDLE,
            authentication_key: CK_OBJECT_HANDLE
        ) => calls_session::set_operation_state;
        C_Login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG)
            => calls_session::login;
        C_Logout(session: CK_SESSION_HANDLE) => calls_session::logout;
        C_CreateObject(
            session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, object: *mut CK_OBJECT_HANDLE
        ) => calls_object::create_object;
        C_CopyObject(
            session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
            copy: *mut CK_OBJECT_HANDLE
        ) => calls_object::copy_object;
        C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) => calls_object::destroy_object;
        C_GetObjectSize(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, size: *mut CK_ULONG)
            => calls_object::object_size;
        C_GetAttributeValue(
            session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG
        ) => calls_object::attribute_values;
        C_SetAttributeValue(
            session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG
        ) => calls_object::set_attribute_values;
        C_FindObjectsInit(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG)
            => calls_object::find_objects_init;
        C_FindObjects(
            session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, max: CK_ULONG, count: *mut CK_ULONG
        ) => calls_object::find_objects;
        C_FindObjectsFinal(session: CK_SESSION_HANDLE) => calls_object::find_objects_final;
        C_EncryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
            => calls_crypt::encrypt_init;
        C_Encrypt(
            session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_crypt::encrypt;
        C_EncryptUpdate(
            session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_crypt::encrypt_update;
        C_EncryptFinal(session: CK_SESSION_HANDLE, out: *mut CK_BYTE, out_len: *mut CK_ULONG) => calls_crypt::encrypt_final;
        C_DecryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
            => calls_crypt::decrypt_init;
        C_Decrypt(
            session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_crypt::decrypt;
        C_DecryptUpdate(
            session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_crypt::decrypt_update;
        C_DecryptFinal(session: CK_SESSION_HANDLE, out: *mut CK_BYTE, out_len: *mut CK_ULONG) => calls_crypt::decrypt_final;
        C_DigestInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM) => calls_digest::digest_init;
        C_Digest(
            session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_digest::digest;
        C_DigestUpdate(session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG) => calls_digest::digest_update;
        C_DigestKey(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) => calls_digest::digest_key;
        C_DigestFinal(session: CK_SESSION_HANDLE, out: *mut CK_BYTE, out_len: *mut CK_ULONG) => calls_digest::digest_final;
        C_SignInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) => calls_sign::sign_init;
        C_Sign(
            session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_sign::sign;
        C_SignUpdate(session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG) => calls_sign::sign_update;
        C_SignFinal(session: CK_SESSION_HANDLE, out: *mut CK_BYTE, out_len: *mut CK_ULONG) => calls_sign::sign_final;
        C_SignRecoverInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
            => calls_sign::sign_recover_init;
        C_SignRecover(
            session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_sign::sign_recover;
        C_VerifyInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
            => calls_sign::verify_init;
        C_Verify(
            session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, signature: *mut CK_BYTE,
            signature_len: CK_ULONG
        ) => calls_sign::verify;
        C_VerifyUpdate(session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG) => calls_sign::verify_update;
        C_VerifyFinal(session: CK_SESSION_HANDLE, signature: *mut CK_BYTE, signature_len: CK_ULONG)
            => calls_sign::verify_final;
        C_VerifyRecoverInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
            => calls_sign::verify_recover_init;
        C_VerifyRecover(
            session: CK_SESSION_HANDLE, signature: *mut CK_BYTE, signature_len: CK_ULONG, out: *mut CK_BYTE,
            out_len: *mut CK_ULONG
        ) => calls_sign::verify_recover;
        C_DigestEncryptUpdate(
            session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_crypt::digest_encrypt_update;
        C_DecryptDigestUpdate(
            session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_crypt::decrypt_digest_update;
        C_SignEncryptUpdate(
            session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_crypt::sign_encrypt_update;
        C_DecryptVerifyUpdate(
            session: CK_SESSION_HANDLE, part: *mut CK_BYTE, part_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_crypt::decrypt_verify_update;
        C_GenerateKey(
            session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
            key: *mut CK_OBJECT_HANDLE
        ) => calls_key::generate_key;
        C_GenerateKeyPair(
            session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public: *mut CK_ATTRIBUTE, public_count: CK_ULONG,
            private: *mut CK_ATTRIBUTE, private_count: CK_ULONG, public_key: *mut CK_OBJECT_HANDLE,
            private_key: *mut CK_OBJECT_HANDLE
        ) => calls_key::generate_key_pair;
        C_WrapKey(
            session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, wrapping: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE,
            out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_key::wrap_key;
        C_UnwrapKey(
            session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, unwrapping: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE,
            wrapped_len: CK_ULONG, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE
        ) => calls_key::unwrap_key;
        C_DeriveKey(
            session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, base: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE,
            count: CK_ULONG, key: *mut CK_OBJECT_HANDLE
        ) => calls_key::derive_key;
        C_SeedRandom(session: CK_SESSION_HANDLE, seed: *mut CK_BYTE, len: CK_ULONG) => calls_key::seed_random;
        C_GenerateRandom(session: CK_SESSION_HANDLE, out: *mut CK_BYTE, len: CK_ULONG) => calls_key::generate_random;
        C_GetFunctionStatus(session: CK_SESSION_HANDLE) => calls_session::function_status;
        C_CancelFunction(session: CK_SESSION_HANDLE) => calls_session::cancel_function;
        C_WaitForSlotEvent(flags: CK_FLAGS, slot: *mut CK_SLOT_ID, reserved: *mut c_void)
            => calls_general::wait_for_slot_event;
    }
    3.0 {
        C_GetInterfaceList(list: *mut CK_INTERFACE, count: *mut CK_ULONG) => interface::interface_list;
        C_GetInterface(
            name: *mut CK_UTF8CHAR, version: *mut CK_VERSION, found: *mut *mut CK_INTERFACE, flags: CK_FLAGS
        ) => interface::interface;
        C_LoginUser(
            session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG,
            name: *mut CK_UTF8CHAR, name_len: CK_ULONG
        ) => calls_session::login_user;
        C_SessionCancel(session: CK_SESSION_HANDLE, flags: CK_FLAGS) => calls_session::session_cancel;
        C_MessageEncryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
            => calls_message::message_encrypt_init;
        C_EncryptMessage(
            session: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG, aad: *mut CK_BYTE,
            aad_len: CK_ULONG, data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_message::encrypt_message;
        C_EncryptMessageBegin(
            session: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG, aad: *mut CK_BYTE, aad_len: CK_ULONG
        ) => calls_message::encrypt_message_begin;
        C_EncryptMessageNext(
            session: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG, part: *mut CK_BYTE,
            part_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG, flags: CK_FLAGS
        ) => calls_message::encrypt_message_next;
        C_MessageEncryptFinal(session: CK_SESSION_HANDLE) => calls_message::message_encrypt_final;
        C_MessageDecryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
            => calls_message::message_decrypt_init;
        C_DecryptMessage(
            session: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG, aad: *mut CK_BYTE,
            aad_len: CK_ULONG, data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_message::decrypt_message;
        C_DecryptMessageBegin(
            session: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG, aad: *mut CK_BYTE, aad_len: CK_ULONG
        ) => calls_message::decrypt_message_begin;
        C_DecryptMessageNext(
            session: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG, part: *mut CK_BYTE,
            part_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG, flags: CK_FLAGS
        ) => calls_message::decrypt_message_next;
        C_MessageDecryptFinal(session: CK_SESSION_HANDLE) => calls_message::message_decrypt_final;
        C_MessageSignInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
            => calls_message::message_sign_init;
        C_SignMessage(
            session: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG, data: *mut CK_BYTE,
            data_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_message::sign_message;
        C_SignMessageBegin(session: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG)
            => calls_message::sign_message_begin;
        C_SignMessageNext(
            session: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG, part: *mut CK_BYTE,
            part_len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG
        ) => calls_message::sign_message_next;
        C_MessageSignFinal(session: CK_SESSION_HANDLE) => calls_message::message_sign_final;
        C_MessageVerifyInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
            => calls_message::message_verify_init;
        C_VerifyMessage(
            session: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG, data: *mut CK_BYTE,
            data_len: CK_ULONG, signature: *mut CK_BYTE, signature_len: CK_ULONG
        ) => calls_message::verify_message;
        C_VerifyMessageBegin(session: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG)
            => calls_message::verify_message_begin;
        C_VerifyMessageNext(
            session: CK_SESSION_HANDLE, parameter: *mut c_void, parameter_len: CK_ULONG, part: *mut CK_BYTE,
            part_len: CK_ULONG, signature: *mut CK_BYTE, signature_len: CK_ULONG
        ) => calls_message::verify_message_next;
        C_MessageVerifyFinal(session: CK_SESSION_HANDLE) => calls_message::message_verify_final;
    }
}

/// A call that goes on with the operation of `session` that `flag` names, or ends it. Bad arguments end it as any error does (5.8.2).
fn go_on(
    session: CK_SESSION_HANDLE,
    flag: CK_FLAGS,
    call: impl FnOnce(&Module) -> Result<()>,
) -> Result<()> {
    let module = module_of(session)?;
    call(&module).or_else(|error| {
        if error.rv() == CKR_ARGUMENTS_BAD {
            module.session_cancel(session, flag)?;
        }
        Err(error)
    })
}

/// The module, once `session` is known to be one of its sessions: that comes before any other argument.
fn module_of(session: CK_SESSION_HANDLE) -> Result<Arc<Module>> {
    let module = process::module()?;
    module.check_session(session)?;
    Ok(module)
}
