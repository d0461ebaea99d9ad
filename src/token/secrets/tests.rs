use super::*;
use crate::ck::{
    CKR_PIN_INCORRECT, CKR_PIN_LEN_RANGE, CKR_PIN_LOCKED, CKR_TOKEN_WRITE_PROTECTED,
    CKR_USER_PIN_NOT_INITIALIZED,
};
use crate::config::Config;
use crate::fault::{End, run, scratch};
use crate::store::{Algorithm, Class, Filter, KeyStore, Memory, Spec, Uid, Usage};
use crate::token::attempts::Failures;
use crate::token::files::SERVED;
use crate::token::learnt::Learnt;
use crate::token::open_files;

const SO: &[u8] = b"so pin";

fn secret(bytes: &[u8]) -> Secret {
    Secret::new(bytes.to_vec())
}

fn make(dir: &TokenDir, user_pin: UserPin<'_>) -> Result<TokenFiles> {
    let identity = IdentityChange {
        certificate: Part::Set(b"certificate"),
        key: Part::Set(b"client key"),
        ca: Part::Keep,
        crl: Part::Keep,
        password: Part::Set(b"password"),
    };
    let so = secret(SO);
    let new = NewToken {
        label: "test",
        so_pin: &so,
        user_pin,
        settings: Settings::default(),
        username: None,
        identity,
    };
    Ok(TokenFiles::of(dir, &create_token(dir, &new)?.uuid))
}

fn node(user_pin: UserPin<'_>) -> (tempfile::TempDir, TokenDir, TokenFiles) {
    let tmp = scratch();
    let dir = TokenDir::at(tmp.path().join("tokens"));
    let files = make(&dir, user_pin).unwrap();
    (tmp, dir, files)
}

fn config(dir: &TokenDir) -> Config {
    dir.load().unwrap()
}

#[test]
fn a_token_opens_with_either_pin_and_keeps_only_a_random_one() {
    let (_tmp, dir, files) = node(UserPin::Random);
    let token = &config(&dir).tokens[0];
    assert_eq!((token.label.as_str(), token.enabled), ("test", false));
    assert_eq!(config::serial_of(&token.uuid).as_ref(), Some(&token.serial));
    let kept = files.kept_user_pin().unwrap().unwrap();
    assert_eq!(kept.len(), 32);
    let path = dir.path().join(&token.uuid).join(USER_PIN);
    for end in ["\n", "\r\n", ""] {
        std::fs::write(&path, [kept.expose(), end.as_bytes()].concat()).unwrap();
        assert_eq!(files.kept_user_pin().unwrap().unwrap(), kept, "{end:?}");
    }
    let by_user = files.unlock(Who::User, kept.expose()).unwrap();
    let by_so = files.unlock(Who::So, SO).unwrap();
    for key in [by_user, by_so] {
        let identity = files.trusted(&key).unwrap().identity;
        assert_eq!(identity.certificate.as_deref(), Some(&b"certificate"[..]));
        assert_eq!(identity.key.unwrap().expose(), b"client key");
        assert_eq!(identity.password.unwrap().expose(), b"password");
        assert!(identity.ca.is_none());
    }

    let pin = secret(b"typed");
    let (_tmp, _dir, files) = node(UserPin::Given(&pin));
    assert!(files.kept_user_pin().unwrap().is_none() && files.has_user_pin().unwrap());
    files.unlock(Who::User, b"typed").unwrap();
    let (_tmp, _dir, files) = node(UserPin::None);
    assert!(!files.has_user_pin().unwrap());
    assert_eq!(
        files.unlock(Who::User, b"typed").unwrap_err().rv(),
        CKR_USER_PIN_NOT_INITIALIZED
    );
}

#[test]
fn nothing_secret_is_on_disk_in_the_clear() {
    let pin = secret(b"a user pin");
    let (_tmp, dir, files) = node(UserPin::Given(&pin));
    let key = files.unlock(Who::So, SO).unwrap();
    let mut seen = 0;
    for folder in [
        dir.path().to_path_buf(),
        dir.path().join(&config(&dir).tokens[0].uuid),
    ] {
        for entry in std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.is_file())
        {
            let content = std::fs::read(&entry).unwrap();
            for bad in [
                SO,
                pin.expose(),
                b"client key",
                b"password",
                key.expose(),
                config::to_hex(key.expose()).as_bytes(),
            ] {
                assert!(
                    !content.windows(bad.len()).any(|w| w == bad),
                    "{}",
                    entry.display()
                );
            }
            seen += 1;
        }
    }
    assert_eq!(
        seen, 8,
        "mrhsm.conf, .lock, token.key, accepted, attempts, client.pem, client.key, credential"
    );
}

#[test]
fn pins_change() {
    let (_tmp, _dir, files) = node(UserPin::Random);
    assert_eq!(
        files.set_so_pin(b"wrong", b"new so pin").unwrap_err().rv(),
        CKR_PIN_INCORRECT
    );
    assert_eq!(
        files.set_so_pin(SO, b"new").unwrap_err().rv(),
        CKR_PIN_LEN_RANGE
    );
    files.set_so_pin(SO, b"new so pin").unwrap();
    assert!(files.unlock(Who::So, SO).is_err());
    let key = files.unlock(Who::So, b"new so pin").unwrap();

    let kept = files.kept_user_pin().unwrap().unwrap();
    assert_eq!(
        files
            .set_user_pin(b"wrong", UserPin::Given(&secret(b"mine")))
            .unwrap_err()
            .rv(),
        CKR_PIN_INCORRECT
    );
    files
        .set_user_pin(kept.expose(), UserPin::Given(&secret(b"mine")))
        .unwrap();
    assert!(
        files.kept_user_pin().unwrap().is_none(),
        "a PIN that somebody chose is not kept"
    );
    files.unlock(Who::User, b"mine").unwrap();
    files.init_user_pin(&key, UserPin::Random).unwrap();
    assert!(files.unlock(Who::User, b"mine").is_err());
    files
        .unlock(Who::User, files.kept_user_pin().unwrap().unwrap().expose())
        .unwrap();
    assert_eq!(
        files
            .init_user_pin(&key, UserPin::Given(&secret(b"abc")))
            .unwrap_err()
            .rv(),
        CKR_PIN_LEN_RANGE
    );
}

#[test]
fn identity_changes_by_part() {
    let (_tmp, dir, files) = node(UserPin::Random);
    let key = files.unlock(Who::So, SO).unwrap();
    let change = IdentityChange {
        key: Part::Remove,
        ca: Part::Set(b"ca"),
        ..IdentityChange::default()
    };
    for (change, changes) in [(change, true), (IdentityChange::default(), false)] {
        let writer = dir.lock().unwrap();
        let changed = files.change(&writer, &key).unwrap().commit(&change);
        assert_eq!(changed.unwrap(), changes);
    }
    let public = files.public_identity().unwrap();
    assert!(!public.has_key && public.has_password);
    assert_eq!(
        (public.certificate.as_deref(), public.ca.as_deref()),
        (Some(&b"certificate"[..]), Some(&b"ca"[..]))
    );
}

/// Adds a key of the cluster and one of an application to the token's objects.
fn add_objects(dir: &TokenDir, files: &TokenFiles) {
    let key = files.unlock(Who::So, SO).unwrap();
    let store = crate::token::open_store(dir, files.trusted(&key).unwrap(), &key).unwrap();
    for (label, properties) in [
        ("cluster", [("role".to_owned(), "core".to_owned())].into()),
        ("application", Default::default()),
    ] {
        let spec = Spec {
            class: Class::SecretKey,
            algorithm: Algorithm::Aes,
            bits: 256,
            usage: Usage::ENCRYPT,
            name: None,
            group: None,
            label: label.into(),
            id: Vec::new(),
            sensitive: true,
            extractable: false,
            properties,
        };
        store.register(&spec, &[label.len() as u8; 32]).unwrap();
    }
}

/// The labels of the objects that the SO PIN opens, by identifier.
fn objects(dir: &TokenDir, files: &TokenFiles) -> Vec<(Uid, Vec<u8>)> {
    let key = files.unlock(Who::So, SO).unwrap();
    let Some(local) = open_files(dir, &config(dir).tokens[0], &key).unwrap() else {
        return Vec::new();
    };
    let metas = local
        .meta(&local.locate(&Filter::default()).unwrap())
        .unwrap();
    for meta in &metas {
        let value = local.fetch(&meta.uid).unwrap();
        let len = meta.label.as_ref().unwrap().len();
        assert_eq!(value.expose(), [len as u8; 32]);
    }
    metas
        .into_iter()
        .map(|meta| (meta.uid, meta.label.unwrap()))
        .collect()
}

#[test]
fn initialised_again_it_has_a_new_key_its_identity_and_the_cluster_s_keys() {
    let (_tmp, dir, files) = node(UserPin::Random);
    add_objects(&dir, &files);
    let before = objects(&dir, &files);
    assert_eq!(
        files.reinit(b"wrong", "new").unwrap_err().rv(),
        CKR_PIN_INCORRECT
    );
    assert!(files.reinit(SO, &"x".repeat(33)).is_err());
    assert_eq!(config(&dir).tokens[0].label, "test");
    let old = files.unlock(Who::So, SO).unwrap();
    let kept = files.kept_user_pin().unwrap().unwrap();
    Learnt::of(&dir, &files.uuid, &old).unwrap().keep("learnt");

    files.reinit(SO, "new").unwrap();
    assert_eq!(config(&dir).tokens[0].label, "new");
    assert!(!files.has_user_pin().unwrap() && files.kept_user_pin().unwrap().is_none());
    assert!(files.unlock(Who::User, kept.expose()).is_err());
    let key = files.unlock(Who::So, SO).unwrap();
    assert_ne!(key.expose(), old.expose());
    let identity = files.trusted(&key).unwrap().identity;
    assert_eq!(identity.certificate.as_deref(), Some(&b"certificate"[..]));
    assert_eq!(identity.key.unwrap().expose(), b"client key");
    assert_eq!(identity.password.unwrap().expose(), b"password");
    assert!(files.trusted(&old).is_err(), "sealed under the new key");
    let learnt = Learnt::of(&dir, &files.uuid, &key).unwrap().recall();
    assert_eq!(learnt.as_deref(), Some("learnt"));
    let after = objects(&dir, &files);
    assert!(after.len() == 1 && after[0].1 == b"cluster" && before.contains(&after[0]));

    // Who opened it before changes nothing any more.
    let pin = secret(b"user pin");
    assert!(files.init_user_pin(&old, UserPin::Given(&pin)).is_err());
    assert!(files.change(&dir.lock().unwrap(), &old).is_err());
    files.init_user_pin(&key, UserPin::Given(&pin)).unwrap();
    files.unlock(Who::User, pin.expose()).unwrap();
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        3,
        "mrhsm.conf, the lock file and the folder"
    );
}

#[test]
fn the_folder_of_the_embedded_server_is_neither_initialised_again_nor_removed() {
    let (_tmp, dir, files) = node(UserPin::Random);
    dir.lock()
        .unwrap()
        .write(&files.uuid, &[(SERVED, Some(b"objects"))])
        .unwrap();
    for refused in [files.reinit(SO, "new"), files.remove(SO)] {
        assert_eq!(refused.unwrap_err().rv(), CKR_TOKEN_WRITE_PROTECTED);
    }
    assert!(dir.read(&files.uuid, SERVED).unwrap().is_some());
}

#[test]
fn a_wrong_pin_is_counted_and_locks_where_that_is_configured() {
    let (_tmp, dir, files) = node(UserPin::Random);
    dir.update(|config| {
        config.tokens[0].settings.max_pin_failures = 2;
        Ok(())
    })
    .unwrap();
    let kept = files.kept_user_pin().unwrap().unwrap();
    files.unlock(Who::User, b"wrong").unwrap_err();
    files.unlock(Who::So, b"wrong").unwrap_err();
    assert_eq!(files.failures().unwrap(), Failures { so: 1, user: 1 });
    files.unlock(Who::User, kept.expose()).unwrap();
    let key = files.unlock(Who::So, SO).unwrap();
    assert_eq!(files.failures().unwrap(), Failures::default());
    for _ in 0..2 {
        files.unlock(Who::User, b"wrong").unwrap_err();
    }
    let e = files.unlock(Who::User, kept.expose()).unwrap_err();
    assert!(
        e.rv() == CKR_PIN_LOCKED && e.to_string().contains("mrhsm userpin -sopin"),
        "{e}"
    );
    files.init_user_pin(&key, UserPin::Random).unwrap();
    files
        .unlock(Who::User, files.kept_user_pin().unwrap().unwrap().expose())
        .unwrap();
    for _ in 0..2 {
        files.set_so_pin(b"wrong", b"new so pin").unwrap_err();
    }
    assert_eq!(files.remove(SO).unwrap_err().rv(), CKR_PIN_LOCKED);
    assert_eq!(files.reinit(SO, "new").unwrap_err().rv(), CKR_PIN_LOCKED);
}

#[test]
fn a_removed_token_is_gone_and_the_others_stay() {
    let (_tmp, dir, files) = node(UserPin::Random);
    let other = make(&dir, UserPin::None).unwrap();
    assert_eq!(files.remove(b"wrong").unwrap_err().rv(), CKR_PIN_INCORRECT);
    files.remove(SO).unwrap();
    assert_eq!(config(&dir).tokens.len(), 1);
    let e = files.unlock(Who::So, SO).unwrap_err();
    assert!(
        e.rv() == CKR_TOKEN_NOT_PRESENT && e.to_string().contains("token.key is missing"),
        "{e}"
    );
    other.unlock(Who::So, SO).unwrap();
}

#[test]
fn a_copied_directory_works_elsewhere() {
    let (tmp, dir, files) = node(UserPin::Random);
    let copy = tmp.path().join("copy");
    assert!(
        std::process::Command::new("cp")
            .arg("-a")
            .args([dir.path(), copy.as_path()])
            .status()
            .unwrap()
            .success()
    );
    let moved = TokenFiles::of(&TokenDir::at(&copy), &config(&dir).tokens[0].uuid);
    std::fs::remove_dir_all(dir.path()).unwrap();
    assert!(files.unlock(Who::So, SO).is_err());
    let key = moved
        .unlock(Who::User, moved.kept_user_pin().unwrap().unwrap().expose())
        .unwrap();
    assert_eq!(
        moved.trusted(&key).unwrap().identity.key.unwrap().expose(),
        b"client key"
    );
    moved.set_so_pin(SO, b"another").unwrap();
}

#[test]
fn refused_before_anything_is_written() {
    let tmp = scratch();
    let dir = TokenDir::at(tmp.path().join("tokens"));
    let (short, good) = (secret(b"123"), secret(SO));
    let attempt = |label: &str, so_pin: &Secret, user_pin: UserPin<'_>| {
        let identity = IdentityChange::default();
        create_token(
            &dir,
            &NewToken {
                label,
                so_pin,
                user_pin,
                settings: Settings::default(),
                username: None,
                identity,
            },
        )
        .map(|_| ())
    };
    assert_eq!(
        attempt("t", &short, UserPin::None).unwrap_err().rv(),
        CKR_PIN_LEN_RANGE
    );
    assert_eq!(
        attempt("t", &good, UserPin::Given(&short))
            .unwrap_err()
            .rv(),
        CKR_PIN_LEN_RANGE
    );
    assert!(
        attempt(&"ü".repeat(17), &good, UserPin::None)
            .unwrap_err()
            .to_string()
            .contains("34 bytes long")
    );
    assert!(config(&dir).tokens.is_empty() && !dir.config_path().exists());
}

/// Ends `work` at every step and checks what is left.
fn at_every_step(
    work: impl Fn(&TokenDir, &TokenFiles) -> Result<()>,
    check: impl Fn(&TokenDir, &TokenFiles),
) {
    let steps = {
        let (_tmp, dir, files) = node(UserPin::Random);
        add_objects(&dir, &files);
        run(None, || work(&dir, &files).unwrap()).1
    };
    assert!(steps > 4);
    for at in 0..steps {
        for end in [End::Error(libc::ENOSPC), End::Killed] {
            let (_tmp, dir, files) = node(UserPin::Random);
            add_objects(&dir, &files);
            run(Some((at, end)), || work(&dir, &files).is_ok());
            check(&dir, &files);
            drop(dir.lock().unwrap());
            check(&dir, &files);
        }
    }
}

#[test]
fn a_token_half_made_is_no_token() {
    at_every_step(
        |dir, _| make(dir, UserPin::Random).map(|_| ()),
        |dir, _| {
            for token in config(dir).tokens {
                let files = TokenFiles::of(dir, &token.uuid);
                let key = files.unlock(Who::So, SO).unwrap();
                files
                    .unlock(Who::User, files.kept_user_pin().unwrap().unwrap().expose())
                    .unwrap();
                assert!(files.trusted(&key).unwrap().identity.key.is_some());
            }
        },
    );
}

#[test]
fn a_pin_half_changed_is_the_old_or_the_new() {
    at_every_step(
        |_, files| files.set_so_pin(SO, b"another"),
        |_, files| {
            assert!(files.unlock(Who::So, SO).is_ok() != files.unlock(Who::So, b"another").is_ok())
        },
    );
}

#[test]
fn a_token_half_initialised_again_or_removed_can_be_so_again() {
    at_every_step(
        |_, files| files.reinit(SO, "again"),
        |dir, files| {
            let key = files.unlock(Who::So, SO).unwrap();
            let identity = files.trusted(&key).unwrap().identity;
            assert_eq!(identity.key.unwrap().expose(), b"client key");
            // It is the old one or the new one.
            match files.kept_user_pin().unwrap() {
                Some(kept) => {
                    let by_user = files.unlock(Who::User, kept.expose()).unwrap();
                    assert_eq!(by_user.expose(), key.expose());
                    assert_eq!(config(dir).tokens[0].label, "test");
                    assert_eq!(objects(dir, files).len(), 2);
                }
                None => {
                    assert!(!files.has_user_pin().unwrap());
                    assert_eq!(objects(dir, files).len(), 1);
                }
            }
        },
    );
    at_every_step(
        |_, files| files.remove(SO),
        |dir, files| {
            if !config(dir).tokens.is_empty() {
                files.unlock(Who::So, SO).unwrap();
            }
        },
    );
}
