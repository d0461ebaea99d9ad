//! The user PIN, locked PINs, and deleting a token.

use super::support::{Home, Terminal};

const NEW: &str = "new-user-pin";

/// A home with a file token.
fn file_token() -> Home {
    let home = Home::new();
    home.mrhsm(["init", "-label", "demo", "-storetype", "file"])
        .done();
    home
}

fn kept_pin(home: &Home) -> Option<String> {
    let folders = std::fs::read_dir(home.path("tokens")).unwrap();
    folders
        .filter_map(|folder| std::fs::read_to_string(folder.unwrap().path().join("user.pin")).ok())
        .next()
}

/// `info` with the user PIN in a file, and whether it opens the objects.
fn opens_with(home: &Home, pin: &str) -> bool {
    home.write("pin", pin.as_bytes(), 0o600);
    let mut command = home.command(["info", "-config", "-json"]);
    command.env("MRHSM_PIN_FILE", home.path("pin"));
    let run = super::support::run(command);
    assert!(run.code == 0 || run.err.contains("PIN"), "{run:#?}");
    run.code == 0
}

#[test]
fn a_random_pin_is_kept_without_argon2_and_a_chosen_one_is_not_kept() {
    let home = file_token();
    let dump = || home.mrhsm(["dump"]).done().out;
    assert!(dump().contains("under the user PIN: HKDF-SHA256 (a random PIN)"));
    let argon2 = |dump: &str, who: &str| {
        let line = dump
            .lines()
            .find(|line| line.contains(&format!("under the {who}: Argon2id, ")))
            .unwrap_or_else(|| panic!("{dump}"))
            .to_owned();
        let number = |before: &str| -> u32 {
            let text = line.split(before).next().unwrap();
            text.rsplit(' ').next().unwrap().parse().unwrap()
        };
        (number(" KiB"), number(" passes"))
    };
    let cost = argon2(&dump(), "SO PIN");
    assert!(cost.0 >= 32 * 1024 && cost.1 >= 3, "{cost:?}");

    let first = kept_pin(&home).unwrap();
    let run = home
        .mrhsm(["userpin", "-newuserpin", &format!("pass:{NEW}"), "-json"])
        .done();
    assert_eq!(run.json()["kept"], false);
    assert!(
        run.err.contains("applications must be given it"),
        "{}",
        run.err
    );
    assert_eq!(kept_pin(&home), None);
    assert!(opens_with(&home, NEW) && !opens_with(&home, &first));
    assert!(argon2(&dump(), "user PIN").0 >= 32 * 1024);

    home.write("old.pin", NEW.as_bytes(), 0o600);
    let run = home
        .mrhsm(["userpin", "-olduserpin", "file:old.pin", "-random"])
        .done();
    assert!(run.out.contains("New user PIN is set successfully"));
    let second = kept_pin(&home).unwrap();
    assert!(second != first && opens_with(&home, &second));
    home.refuses(
        ["userpin", "-olduserpin", "file:old.pin", "-random"],
        3,
        "the user PIN is wrong",
    );
    home.refuses(
        ["userpin", "-newuserpin", "pass:abc"],
        3,
        "The length of the new user PIN is out of range",
    );
    home.refuses(
        ["userpin", "-random", "-newuserpin", "x"],
        2,
        "cannot be used with",
    );
}

#[test]
fn the_security_officer_sets_the_user_pin_and_unlocks_it() {
    let home = file_token();
    let run = home.mrhsm(["set", "-maxpinfailures", "2"]).done();
    assert!(
        run.err.contains("Nothing unlocks a locked SO PIN"),
        "{run:#?}"
    );
    assert!(!opens_with(&home, "wrong"));
    let info = home.mrhsm(["info", "-config"]).done().out;
    assert!(!info.contains("Wrong user PINs"), "the kept PIN opened it");
    assert!(!opens_with(&home, "wrong") && !opens_with(&home, "wrong"));
    home.refuses(
        ["info", "-config"],
        3,
        "the user PIN is locked after 2 wrong",
    );
    home.refuses(["userpin", "-random"], 3, "mrhsm userpin -sopin");
    home.mrhsm(["userpin", "-sopin", "-random"]).done();
    home.mrhsm(["info", "-config"]).done();

    home.write("so.pin", b"wrong", 0o600);
    home.refuses(["userpin", "-sopin", "-random"], 3, "the SO PIN is wrong");
    let config = home.mrhsm(["info", "-config", "-json"]).done().json()["config"].clone();
    assert_eq!(config["pin_failures"]["so"], 1);
    let info = home.mrhsm(["info", "-config"]).done().out;
    assert!(info.contains("Wrong SO PINs          : 1 of 2"), "{info}");
    home.refuses(["set", "-port", "1"], 3, "the SO PIN is wrong");
    home.write("so.pin", super::support::SO_PIN.as_bytes(), 0o600);
    home.refuses(
        ["set", "-port", "1"],
        3,
        "the SO PIN is locked after 2 wrong",
    );
    home.refuses(["delete", "-yes"], 3, "the SO PIN is locked after 2 wrong");
    let info = home.mrhsm(["info", "-config"]).done().out;
    assert!(
        info.contains("Wrong SO PINs          : 2, locked"),
        "{info}"
    );
}

#[test]
fn a_short_pin_is_warned_of() {
    let home = Home::new();
    let short = |run: super::support::Run| run.done().err.contains("has fewer than 8 characters");
    home.write("so.pin", b"7 bytes", 0o600);
    assert!(short(home.mrhsm(["init", "-label", "a"])));
    home.write("so.pin", b"8 bytes.", 0o600);
    assert!(!short(home.mrhsm(["init", "-label", "b"])));
    assert!(short(home.mrhsm([
        "init",
        "-label",
        "c",
        "-userpin",
        "pass:1234"
    ])));
    assert!(short(home.mrhsm([
        "sopin",
        "-token",
        "b",
        "-newsopin",
        "pass:1234"
    ])));
    assert!(short(home.mrhsm([
        "userpin",
        "-token",
        "a",
        "-newuserpin",
        "pass:1234"
    ])));
}

#[test]
fn userpin_asks_for_what_is_missing() {
    let home = Home::new();
    home.write("pin", b"old-user-pin", 0o600);
    home.mrhsm(["init", "-label", "demo", "-userpin", "file:pin"])
        .done();
    let mut terminal = Terminal::new(home.command(["userpin"]));
    for (prompt, pin) in [
        ("Current user PIN: ", "old-user-pin"),
        ("Enter new user PIN (4-255 characters): ", NEW),
        ("Please reenter new user PIN: ", NEW),
    ] {
        terminal.expect(prompt);
        terminal.expect_no_echo();
        terminal.send(&format!("{pin}\r"));
    }
    terminal.expect("New user PIN is set successfully");
    assert_eq!(terminal.end().0, 0);
    home.write("pin", NEW.as_bytes(), 0o600);
    home.mrhsm(["userpin", "-olduserpin", "file:pin", "-random"])
        .done();
}

#[test]
fn a_token_is_deleted_after_its_label_was_typed() {
    let home = file_token();
    home.mrhsm(["init", "-label", "other"]).done();
    let delete = ["delete", "-token", "demo"];
    home.refuses(delete, 2, "use -yes");
    home.write("so.pin", b"wrong", 0o600);
    home.refuses(
        ["delete", "-token", "demo", "-yes"],
        3,
        "the SO PIN is wrong",
    );
    home.write("so.pin", super::support::SO_PIN.as_bytes(), 0o600);
    home.refuses(["delete", "-yes"], 6, "has 2 tokens");

    let before = home.snapshot();
    for (typed, code) in [("other\r", 1), ("\r", 1), ("\x04", 130)] {
        let mut terminal = Terminal::new(home.command(delete));
        terminal.expect("Type the label of the token to delete it: ");
        terminal.send(typed);
        let (ended, rest) = terminal.end();
        assert_eq!(ended, code, "{rest}");
        assert!(rest.contains("othing was"), "{rest}");
        assert_eq!(home.snapshot(), before);
    }
    let mut terminal = Terminal::new(home.command(delete));
    terminal.expect("Type the label");
    terminal.send("demo\r");
    terminal.expect("Token 'demo' is deleted");
    assert_eq!(terminal.end().0, 0);

    let run = home.mrhsm(["delete", "-yes", "-json"]).done();
    assert_eq!(run.json()["token"]["label"], "other");
    assert!(
        run.err.contains("Objects on KMIP servers stay there"),
        "{run:#?}"
    );
    home.refuses(["info", "-config"], 6, "There is no token");
    let left: Vec<_> = std::fs::read_dir(home.path("tokens"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "mrhsm.conf and the lock file: {left:?}");
}

#[test]
fn the_directory_of_serve_is_not_deleted() {
    let home = Home::new();
    home.mrhsm(["init", "-label", "mrhsm serve", "-storetype", "file"])
        .done();
    let folder = std::fs::read_dir(home.path("tokens"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir())
        .unwrap();
    std::fs::write(folder.join("served"), b"").unwrap();
    home.refuses(["delete", "-yes"], 1, "holds the objects of mrhsm serve");
}
