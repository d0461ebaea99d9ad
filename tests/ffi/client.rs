//! The `cryptoki` crate as a client: a binding that nobody here wrote.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

use super::host::{SO_PIN, USER_PIN, alone, library_path};

fn pin(bytes: &[u8]) -> AuthPin {
    AuthPin::new(String::from_utf8(bytes.to_vec()).unwrap().into())
}

#[test]
fn it_makes_a_token_and_a_key_and_uses_it() {
    alone(|_| {
        let pkcs11 = Pkcs11::new(library_path()).unwrap();
        pkcs11
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .unwrap();
        let free = *pkcs11.get_all_slots().unwrap().last().unwrap();
        pkcs11
            .init_token(free, &pin(SO_PIN), "by cryptoki")
            .unwrap();
        let slots = pkcs11.get_slots_with_initialized_token().unwrap();
        let slot = *slots
            .iter()
            .find(|slot| pkcs11.get_token_info(**slot).unwrap().label() == "by cryptoki")
            .unwrap();
        {
            let session = pkcs11.open_rw_session(slot).unwrap();
            session.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
            session.init_pin(&pin(USER_PIN)).unwrap();
        }
        let session = pkcs11.open_rw_session(slot).unwrap();
        session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
        let label = Attribute::Label(b"a key".to_vec());
        let template = [
            Attribute::ValueLen(32.into()),
            Attribute::Token(true),
            label.clone(),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
        ];
        let key = session
            .generate_key(&Mechanism::AesKeyGen, &template)
            .unwrap();

        let found = session
            .find_objects(&[label, Attribute::Class(ObjectClass::SECRET_KEY)])
            .unwrap();
        assert_eq!(found, [key]);
        let attributes = session
            .get_attributes(key, &[AttributeType::Sensitive, AttributeType::ValueLen])
            .unwrap();
        assert_eq!(
            attributes,
            [Attribute::Sensitive(true), Attribute::ValueLen(32.into())]
        );
        assert!(
            session
                .get_attributes(key, &[AttributeType::Value])
                .unwrap()
                .is_empty()
        );

        let mut iv = *b"twelve bytes";
        let gcm = Mechanism::AesGcm(GcmParams::new(&mut iv, b"associated", 128.into()).unwrap());
        let secret = session.encrypt(&gcm, key, b"the text").unwrap();
        assert_eq!(secret.len(), 8 + 16);
        assert_eq!(session.decrypt(&gcm, key, &secret).unwrap(), b"the text");
        session.destroy_object(key).unwrap();
        assert!(session.find_objects(&[]).unwrap().is_empty());
    });
}
