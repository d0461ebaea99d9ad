//! Errors in the terms of KMIP: a client reads neither values of PKCS#11 nor paths of the server.

use crate::ck::*;
use crate::error::{Error, Kind};

/// What a client reads of an error.
pub fn client_text(error: &Error) -> String {
    match error.kind() {
        Kind::Pkcs11 => meaning(error.rv()).to_owned(),
        Kind::Input | Kind::Protocol => {
            let text = error.to_string();
            match text.contains("CKR_") {
                true => meaning(error.rv()).to_owned(),
                false => text,
            }
        }
        Kind::File
        | Kind::Changed
        | Kind::Unreachable
        | Kind::Broken
        | Kind::Tls
        | Kind::Server(_) => "the server cannot use its storage now".to_owned(),
    }
}

/// What a value of the layers below means for a KMIP operation.
fn meaning(rv: CK_RV) -> &'static str {
    match rv {
        CKR_MECHANISM_PARAM_INVALID => {
            "the Cryptographic Parameters, IV or tag are not valid for the key"
        }
        CKR_MECHANISM_INVALID => "the Cryptographic Parameters are not supported",
        CKR_ATTRIBUTE_VALUE_INVALID => "a value is not valid or not supported",
        CKR_KEY_SIZE_RANGE => "the key has a length that its algorithm does not have",
        CKR_KEY_TYPE_INCONSISTENT => "the key is not of a type for this operation",
        CKR_CURVE_NOT_SUPPORTED | CKR_DOMAIN_PARAMS_INVALID => "the curve is not supported",
        CKR_DATA_INVALID => "the data are not valid for the key",
        CKR_DATA_LEN_RANGE => "the data have a length that the mode or the key does not take",
        // One text for all of them: it tells nothing of what was decrypted.
        CKR_ENCRYPTED_DATA_INVALID | CKR_ENCRYPTED_DATA_LEN_RANGE | CKR_AEAD_DECRYPT_FAILED => {
            "the data cannot be decrypted"
        }
        CKR_SIGNATURE_INVALID | CKR_SIGNATURE_LEN_RANGE => "the signature or MAC is not valid",
        CKR_WRAPPED_KEY_INVALID | CKR_WRAPPED_KEY_LEN_RANGE => "the wrapped key is not valid",
        CKR_HOST_MEMORY | CKR_DEVICE_MEMORY => "the server has no memory or space for it",
        _ => "the operation failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ck;

    #[test]
    fn no_error_shows_values_of_pkcs_11_or_paths() {
        let named = (0..0x400).filter(|rv| ck::rv_name(*rv).starts_with("CKR_"));
        let bare: Vec<Error> = named.map(Error::from).collect();
        assert!(bare.len() > 80, "{}", bare.len());
        let kinds = [
            Kind::Input,
            Kind::File,
            Kind::Changed,
            Kind::Unreachable,
            Kind::Broken,
            Kind::Tls,
            Kind::Protocol,
            Kind::Server(1),
        ];
        let others = kinds.map(|kind| Error::new(kind, CKR_DEVICE_ERROR, "").context("a key"));
        let io = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let full = Error::file("cannot write /var/lib/mrhsm/served.db", io);
        let caused = Error::input("the key").because(Error::from(CKR_DATA_INVALID));
        for error in bare.iter().chain(&others).chain([&full, &caused]) {
            let text = client_text(error);
            assert!(!text.is_empty(), "{error}");
            for bad in ["CKR_", "/", "::", "{", "("] {
                assert!(!text.contains(bad), "{error}: {text}");
            }
        }
    }
}
