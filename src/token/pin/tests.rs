use proptest::prelude::*;

use super::*;

fn path() -> &'static Path {
    Path::new("/t/token.key")
}

fn read_again(file: &PinFile) -> PinFile {
    PinFile::parse(file.to_text().unwrap().as_bytes(), path()).unwrap()
}

#[test]
fn both_pins_open_the_same_key() {
    let key = TokenKey::generate().unwrap();
    let mut file = PinFile::new(&key, b"so pin").unwrap();
    assert_eq!(
        file.unlock(Who::User, b"user").unwrap_err().rv(),
        CKR_USER_PIN_NOT_INITIALIZED
    );
    file.set(Who::User, &key, "Nutzer-PIN äöü \0\u{1F511}".as_bytes())
        .unwrap();
    let file = read_again(&file);
    assert!(file.has_user());
    for (who, pin) in [
        (Who::So, &b"so pin"[..]),
        (Who::User, "Nutzer-PIN äöü \0\u{1F511}".as_bytes()),
    ] {
        assert_eq!(file.unlock(who, pin).unwrap().expose(), key.expose());
        for wrong in [&b""[..], b"so pin ", b"So pin", &pin[1..], &[0; 300]] {
            let e = file.unlock(who, wrong).unwrap_err();
            assert_eq!(e.rv(), CKR_PIN_INCORRECT);
            assert!(e.to_string().contains(who.name()), "{e}");
        }
    }
    assert!(
        file.unlock(Who::User, b"so pin").is_err(),
        "each opens with its own PIN only"
    );
}

#[test]
fn a_replaced_pin_no_longer_opens() {
    let key = TokenKey::generate().unwrap();
    let mut file = PinFile::new(&key, b"old pin").unwrap();
    file.set(Who::So, &key, b"new pin").unwrap();
    file.set(Who::User, &key, b"user").unwrap();
    file.clear_user();
    let file = read_again(&file);
    assert!(file.unlock(Who::So, b"old pin").is_err() && !file.has_user());
    assert_eq!(
        file.unlock(Who::So, b"new pin").unwrap().expose(),
        key.expose()
    );
}

#[test]
fn pins_have_4_to_255_bytes() {
    let key = TokenKey::generate().unwrap();
    for (len, fine) in [(0, false), (3, false), (4, true), (255, true), (256, false)] {
        let made = PinFile::new(&key, &vec![b'x'; len]);
        assert_eq!(
            made.as_ref().map(|_| ()).map_err(Error::rv),
            if fine { Ok(()) } else { Err(CKR_PIN_LEN_RANGE) }
        );
    }
}

#[test]
fn the_same_pin_never_gives_the_same_text() {
    let key = TokenKey::generate().unwrap();
    let text = || PinFile::new(&key, b"1234").unwrap().to_text().unwrap();
    assert_ne!(text(), text());
    assert_ne!(key.expose(), TokenKey::generate().unwrap().expose());
}

#[test]
fn hostile_files_are_refused_at_once() {
    let key = TokenKey::generate().unwrap();
    let good = PinFile::new(&key, b"1234").unwrap().to_text().unwrap();
    let refused = |text: &str| {
        let start = std::time::Instant::now();
        let e = PinFile::parse(text.as_bytes(), path())
            .and_then(|f| f.unlock(Who::So, b"1234"))
            .unwrap_err();
        assert!(start.elapsed().as_secs() < 2);
        assert_eq!(e.rv(), CKR_GENERAL_ERROR, "{text}");
        e.to_string()
    };
    for (from, to) in [
        ("memory_kib = 64", "memory_kib = 4294967295"),
        ("memory_kib = 64", "memory_kib = 0"),
        ("passes = 1", "passes = 4000000000"),
        ("passes = 1", "passes = 0"),
        ("passes = 1", "passes = -1"),
        ("memory_kib = 64\n", ""),
        ("argon2id", "md5"),
        ("check = \"", "check = \"00"),
        ("salt = \"", "salt = \"00"),
        ("key = \"", "key = \"0"),
        ("[so]", "[os]"),
        ("salt", "pepper"),
    ] {
        assert_ne!(good.replacen(from, to, 1), good, "{from}");
        assert!(refused(&good.replacen(from, to, 1)).contains("is damaged"));
    }
    assert!(refused(&good.replace("version = 2", "version = 3")).contains("format version 3"));
    assert!(refused("").contains("no version"));
    assert!(PinFile::parse(&[0xff], path()).is_err());
}

#[test]
fn a_random_pin_needs_no_slow_function_and_a_chosen_one_does() {
    let key = TokenKey::generate().unwrap();
    let mut file = PinFile::new(&key, b"so pin").unwrap();
    assert_eq!(
        file.is_random(Who::User).unwrap_err().rv(),
        CKR_USER_PIN_NOT_INITIALIZED
    );
    file.set_random(Who::User, &key, b"0123456789abcdef0123456789abcdef")
        .unwrap();
    let mut file = read_again(&file);
    assert!(file.is_random(Who::User).unwrap() && !file.is_random(Who::So).unwrap());
    let opened = file.unlock(Who::User, b"0123456789abcdef0123456789abcdef");
    assert_eq!(opened.unwrap().expose(), key.expose());
    assert_eq!(
        file.unlock(Who::User, b"0123456789abcdef0123456789abcdeF")
            .unwrap_err()
            .rv(),
        CKR_PIN_INCORRECT
    );
    file.set(Who::User, &key, b"mine").unwrap();
    assert!(!read_again(&file).is_random(Who::User).unwrap());
}

#[test]
fn a_file_of_version_1_opens_and_becomes_version_2_with_the_next_pin() {
    let key = TokenKey::generate().unwrap();
    let text = PinFile::new(&key, b"so pin").unwrap().to_text().unwrap();
    let old: String = text
        .lines()
        .filter(|line| !line.starts_with("check"))
        .map(|line| line.replace("version = 2", "version = 1") + "\n")
        .collect();
    let mut file = PinFile::parse(old.as_bytes(), path()).unwrap();
    assert_eq!(
        file.unlock(Who::So, b"so pin").unwrap().expose(),
        key.expose()
    );
    assert!(file.to_text().unwrap().contains("version = 1"));
    file.set(Who::User, &key, b"user").unwrap();
    let text = file.to_text().unwrap();
    assert!(text.contains("version = 2") && text.contains("check = "));
}

#[test]
fn no_pin_wraps_a_key_that_is_not_the_token_s() {
    let key = TokenKey::generate().unwrap();
    let mut file = PinFile::new(&key, b"so pin").unwrap();
    let other = TokenKey::generate().unwrap();
    assert_eq!(
        file.set(Who::User, &other, b"user").unwrap_err().rv(),
        CKR_FUNCTION_FAILED
    );
    assert!(!file.has_user());
}

#[test]
fn a_changed_wrapping_does_not_open() {
    let key = TokenKey::generate().unwrap();
    let mut file = PinFile::new(&key, b"1234").unwrap();
    let last = file.so.key.pop().unwrap();
    file.so.key.push(if last == '0' { '1' } else { '0' });
    assert_eq!(
        file.unlock(Who::So, b"1234").unwrap_err().rv(),
        CKR_PIN_INCORRECT
    );
}

#[test]
fn sealed_files_open_in_their_own_place_only() {
    let key = TokenKey::generate().unwrap();
    let sealed = key.seal("uuid", "client.key", b"content").unwrap();
    assert!(!sealed.windows(7).any(|w| w == b"content"));
    assert_ne!(sealed, key.seal("uuid", "client.key", b"content").unwrap());
    assert_eq!(
        key.open("uuid", "client.key", &sealed).unwrap().expose(),
        b"content"
    );
    assert!(key.open("uuid", "credential", &sealed).is_err());
    assert!(key.open("other", "client.key", &sealed).is_err());
    assert!(
        TokenKey::generate()
            .unwrap()
            .open("uuid", "client.key", &sealed)
            .is_err()
    );
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 0x20;
        assert!(
            key.open("uuid", "client.key", &changed).is_err(),
            "byte {at}"
        );
        let e = key
            .open("uuid", "client.key", &sealed[..at])
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("uuid/client.key") && e.contains("mrhsm set"),
            "{e}"
        );
    }
}

proptest! {
    #[test]
    fn no_content_makes_it_panic(content in proptest::collection::vec(any::<u8>(), 0..200), text in "(version = 1\n)?[a-z\\[\\]=\" 0-9\n]{0,100}") {
        let _ = PinFile::parse(&content, path());
        let _ = PinFile::parse(text.as_bytes(), path());
    }
}
