use super::*;
use crate::ck::{CKR_PIN_INCORRECT, CKR_PIN_LEN_RANGE, CKR_USER_PIN_NOT_INITIALIZED};
use crate::config::Config;
use crate::fault::{End, run, scratch};

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
        seen, 7,
        "mrhsm.conf, .lock, token.key, accepted, client.pem, client.key, credential"
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
            .set_user_pin(b"wrong", &secret(b"mine"))
            .unwrap_err()
            .rv(),
        CKR_PIN_INCORRECT
    );
    files.set_user_pin(kept.expose(), &secret(b"mine")).unwrap();
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

#[test]
fn initialised_again_it_keeps_its_identity_and_loses_its_user_pin() {
    let (_tmp, dir, files) = node(UserPin::Random);
    assert_eq!(
        files.reinit(b"wrong", "new").unwrap_err().rv(),
        CKR_PIN_INCORRECT
    );
    assert!(files.reinit(SO, &"x".repeat(33)).is_err());
    assert_eq!(config(&dir).tokens[0].label, "test");
    files.reinit(SO, "new").unwrap();
    assert_eq!(config(&dir).tokens[0].label, "new");
    assert!(!files.has_user_pin().unwrap() && files.kept_user_pin().unwrap().is_none());
    let key = files.unlock(Who::So, SO).unwrap();
    assert_eq!(
        files.trusted(&key).unwrap().identity.key.unwrap().expose(),
        b"client key"
    );
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
        run(None, || work(&dir, &files).unwrap()).1
    };
    assert!(steps > 4);
    for at in 0..steps {
        for end in [End::Error(libc::ENOSPC), End::Killed] {
            let (_tmp, dir, files) = node(UserPin::Random);
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
        |_, files| files.reinit(SO, "again").unwrap(),
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
