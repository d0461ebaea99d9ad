//! Bad input: each case has its sentence and its exit code, and changes nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::support::{Authority, Home, SO_PIN, closed_port, run, silent_host};

/// A home with a token that is set up for a server on `port` of this machine, and the authority of its certificates.
fn configured(port: u16) -> (Home, Authority) {
    let home = Home::with_token();
    let authority = Authority::new("Test CA");
    authority.issue_to(&home);
    let port = port.to_string();
    let files = [
        "-cacert",
        "ca.pem",
        "-clientcert",
        "client.pem",
        "-clientkey",
        "client.key",
    ];
    home.mrhsm(
        ["set", "-ip", "127.0.0.1", "-port", &port]
            .iter()
            .chain(&files),
    )
    .done();
    (home, authority)
}

#[test]
fn a_new_pin_has_4_to_255_bytes() {
    let home = Home::new();
    for pin in [String::from("123"), "x".repeat(256)] {
        home.write("so.pin", pin.as_bytes(), 0o600);
        home.refuses(
            ["init", "-label", "demo"],
            3,
            "The length of the SO PIN is out of range",
        );
    }
    home.write("so.pin", SO_PIN.as_bytes(), 0o600);
    home.refuses(
        ["init", "-label", "demo", "-userpin", "abc"],
        3,
        "The length of the user PIN is out of range",
    );
    for pin in [String::from("1234"), "x".repeat(255)] {
        home.write("so.pin", pin.as_bytes(), 0o600);
        home.mrhsm(["init", "-label", &pin[..4]]).done();
    }
    home.write("so.pin", b"1234", 0o600);
    home.refuses(
        ["sopin", "-token", "1234", "-newsopin", "abc"],
        3,
        "The length of the new SO PIN is out of range",
    );
}

#[test]
fn a_wrong_pin_changes_nothing() {
    let home = Home::with_token();
    home.write("so.pin", b"wrong", 0o600);
    home.refuses(["set", "-port", "5697"], 3, "the SO PIN is wrong");
    home.refuses(["remove", "-port"], 3, "the SO PIN is wrong");
    home.refuses(["sopin", "-newsopin", "new-5678"], 3, "the SO PIN is wrong");
    home.refuses(["enable", "-active", "false"], 3, "the SO PIN is wrong");
    home.refuses(["configure", "-label", "demo"], 3, "the SO PIN is wrong");
}

#[test]
fn a_pin_comes_from_a_file_the_environment_or_the_option() {
    let home = Home::with_token();
    home.write("other.pin", format!("{SO_PIN}\n").as_bytes(), 0o600);
    for (pin, note) in [
        (format!("file:{}", home.arg("other.pin")), ""),
        ("env:MY_PIN".into(), ""),
        (SO_PIN.into(), "visible to others in the process list"),
        (
            format!("pass:{SO_PIN}"),
            "visible to others in the process list",
        ),
    ] {
        let mut command = home.command(["remove", "-port", "-sopin", &pin]);
        command
            .env_remove("MRHSM_SO_PIN_FILE")
            .env("MY_PIN", SO_PIN);
        let done = run(command).done();
        assert!(done.err.contains(note), "{pin}: {done:#?}");
        assert_eq!(
            done.err.contains("process list"),
            !note.is_empty(),
            "{pin}: {done:#?}"
        );
    }
    home.refuses(
        ["remove", "-port", "-sopin", "file:nosuch"],
        3,
        "-sopin: cannot read nosuch",
    );
    home.refuses(
        ["remove", "-port", "-sopin", "env:NO_SUCH"],
        3,
        "there is no such environment variable",
    );
    home.write("other.pin", SO_PIN.as_bytes(), 0o644);
    let open = home
        .mrhsm(["remove", "-port", "-sopin", "file:other.pin"])
        .done();
    assert!(
        open.err
            .contains("other.pin can be read by others (mode 0644)"),
        "{open:#?}"
    );
}

#[test]
fn without_a_terminal_the_sentence_says_what_to_use() {
    let home = Home::new();
    for (args, instead) in [
        (&["init", "-label", "demo"][..], "no terminal"),
        (
            &["configure", "-label", "demo"],
            "configure asks nothing: give the SO PIN with",
        ),
    ] {
        let mut command = home.command(args);
        command.env_remove("MRHSM_SO_PIN_FILE");
        let refused = run(command).refused(3, instead);
        assert!(refused.err.contains("MRHSM_SO_PIN_FILE"), "{refused:#?}");
    }
    assert!(!home.path("tokens").exists());
}

#[test]
fn labels() {
    let home = Home::new();
    home.refuses(["init", "-label", &"x".repeat(33)], 2, "33 bytes long");
    home.refuses(["init", "-label", &"\u{e9}".repeat(17)], 2, "34 bytes long");
    home.refuses(["init", "-label", ""], 2, "must not be empty");
    home.refuses(["init", "-label", " demo"], 2, "begin or end with a blank");
    home.refuses(["init", "-label", "a\tb"], 2, "control characters");
    home.refuses(
        [
            OsStr::new("init"),
            OsStr::new("-label"),
            OsStr::from_bytes(b"caf\xe9"),
        ],
        2,
        "UTF-8",
    );
    home.refuses(["init"], 2, "-label <LABEL>");
    home.mrhsm(["init", "-label", &"\u{e9}".repeat(16)]).done();
    home.mrhsm(["init", "-label", "-1"]).done();
    home.refuses(["init", "-label", "-1"], 1, "There is a token '-1'");
}

#[test]
fn values_out_of_range() {
    let home = Home::with_token();
    for (args, sentence) in [
        (&["-port", "0"][..], "0 is not in 1..=65535"),
        (&["-port", "70000"], "70000 is not in 1..=65535"),
        (&["-port", "-1"], "invalid value '-1' for '-port <PORT>'"),
        (&["-port", "x"], "invalid digit"),
        (&["-ip", "a b"], "is not a host"),
        (&["-ip", "https://kms"], "is not a host"),
        (&["-ip", "kms:0"], "port 0"),
        (&["-ip", ""], "is not a host"),
        (&["-kmipversion", "1.5"], "use auto, 1.0"),
        (&["-crypto", "here"], "auto, server or local"),
        (&["-policy", "loose"], "default, strict or compatible"),
        (&["-timeout", "0"], "more than 0 is needed"),
        (&["-timeout", "1 year"], "500ms, 10s, 5m"),
        (&["-keycache", "25h"], "24h at most"),
        (
            &["-maxpinfailures", "1001"],
            "use 1 to 1000, or 0 for never",
        ),
        (&["-maxpinfailures", "some"], "a number is expected"),
        (
            &["-servername", "a b"],
            "a DNS name or an IP address is expected",
        ),
        (
            &["-active", "maybe"],
            "invalid value 'maybe' for '-active <BOOL>'",
        ),
        (&["-storetype", "tape"], "use kmip or file"),
        (&["-p12", "a", "-clientkey", "b"], "cannot be used with"),
        (&["-prot", "1"], "'-port'"),
        (&[], "Nothing to set"),
    ] {
        home.refuses(["set"].iter().chain(args), 2, sentence);
    }
    home.refuses(["remove"], 2, "-port");
    home.refuses(["rekey"], 2, "-keytype <KEY>");
    home.refuses(["rekey", "-keytype", "both"], 2, "core");
    home.refuses(["inti"], 2, "'init'");
    home.refuses([""; 0], 2, "Usage: mrhsm");
}

#[test]
fn both_spellings_are_the_same() {
    let home = Home::with_token();
    for args in [
        &["-port", "5697"][..],
        &["--port", "5697"],
        &["-port=5697"],
        &["--port=5697"],
    ] {
        home.mrhsm(["remove", "-port"]).done();
        home.mrhsm(["set"].iter().chain(args)).done();
        assert_eq!(
            home.mrhsm(["info", "-config", "--json"]).done().json()["config"]["port"],
            5697
        );
    }
}

#[test]
fn certificates_and_keys_are_checked_before_anything_is_written() {
    let home = Home::with_token();
    let authority = Authority::new("Test CA");
    authority.issue_to(&home);
    let (other, other_key) = authority.client("other", (2020, 2099));
    home.write("other.pem", other.as_bytes(), 0o644);
    home.write("other.key", other_key.as_bytes(), 0o600);
    let (expired, expired_key) = authority.client("late", (2019, 2020));
    home.write("expired.pem", expired.as_bytes(), 0o644);
    home.write("expired.key", expired_key.as_bytes(), 0o600);
    let (early, early_key) = authority.client("early", (2098, 2099));
    home.write("early.pem", early.as_bytes(), 0o644);
    home.write("early.key", early_key.as_bytes(), 0o600);
    home.write(
        "garbage.pem",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        0o644,
    );
    home.write("empty.pem", b"", 0o644);
    for (args, code, sentence) in [
        (&["-cacert", "nosuch.pem"][..], 1, "cannot read nosuch.pem"),
        (
            &["-cacert", "empty.pem"],
            1,
            "empty.pem holds no certificate",
        ),
        (&["-cacert", "garbage.pem"], 1, "garbage.pem"),
        (
            &["-cacert", "client.key"],
            1,
            "client.key holds no certificate",
        ),
        (
            &["-clientcert", "client.pem", "-clientkey", "other.key"],
            1,
            "does not belong to the client certificate",
        ),
        (
            &["-clientcert", "client.pem", "-clientkey", "client.pem"],
            1,
            "no private key",
        ),
        (
            &["-clientcert", "expired.pem", "-clientkey", "expired.key"],
            4,
            "expired on",
        ),
        (
            &["-clientcert", "early.pem", "-clientkey", "early.key"],
            4,
            "is not valid before",
        ),
        (
            &["-clientkey", "client.key"],
            6,
            "give -clientcert FILE with it",
        ),
        (&["-p12", "client.key", "-clientkeypass", "x"], 1, "PKCS#12"),
        (
            &["-password", "file:so.pin"],
            2,
            "-password needs -username",
        ),
    ] {
        // A good setting beside the bad one is not kept either.
        home.refuses(["set", "-port", "5697"].iter().chain(args), code, sentence);
    }
    home.mrhsm([
        "set",
        "-clientcert",
        "client.pem",
        "-clientkey",
        "client.key",
    ])
    .done();
    home.refuses(
        ["set", "-clientcert", "other.pem"],
        1,
        "does not belong to the client certificate",
    );
    home.refuses(
        ["set", "-clientkey", "other.key"],
        1,
        "does not belong to the client certificate",
    );
    home.mrhsm(["set", "-clientcert", "other.pem", "-clientkey", "other.key"])
        .done();
}

#[test]
fn what_may_go_wrong_soon_is_a_warning() {
    let home = Home::with_token();
    let authority = Authority::new("Test CA");
    authority.issue_to(&home);
    home.write(
        "client.key",
        &std::fs::read(home.path("client.key")).unwrap(),
        0o644,
    );
    let done = home
        .mrhsm([
            "set",
            "-clientcert",
            "client.pem",
            "-clientkey",
            "client.key",
        ])
        .done();
    assert!(
        done.err
            .contains("client.key holds a private key and is open to others (mode 0644)"),
        "{done:#?}"
    );
    let (certificate, key) = authority.client_for_days("soon", 10);
    home.write("soon.pem", certificate.as_bytes(), 0o644);
    home.write("soon.key", key.as_bytes(), 0o600);
    let done = home
        .mrhsm(["set", "-clientcert", "soon.pem", "-clientkey", "soon.key"])
        .done();
    assert!(done.err.contains("expires in 10 days"), "{done:#?}");
}

#[test]
fn secrets_are_not_kept_in_the_clear() {
    let (home, _) = configured(closed_port());
    home.mrhsm(["set", "-username", "me", "-password", "pass:hunter2-secret"])
        .done();
    let key = std::fs::read_to_string(home.path("client.key")).unwrap();
    let body = key.lines().nth(1).unwrap();
    for (path, (mode, content)) in home.snapshot() {
        if !path.starts_with(home.path("tokens")) {
            continue;
        }
        let text = String::from_utf8_lossy(&content);
        assert!(
            !text.contains(body) && !text.contains("hunter2") && !text.contains(SO_PIN),
            "{}",
            path.display()
        );
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
    let dump = home.mrhsm(["dump"]).done();
    assert!(
        dump.out
            .contains("private key of the client, sealed under the token key"),
        "{}",
        dump.out
    );
    let pin = std::fs::read_dir(home.path("tokens"))
        .unwrap()
        .find_map(|e| std::fs::read_to_string(e.ok()?.path().join("user.pin")).ok());
    assert!(!dump.out.contains(pin.unwrap().trim()));
}

#[test]
fn servers_that_cannot_be_reached() {
    let (home, _) = configured(closed_port());
    let info = home.mrhsm(["info", "-config"]).done();
    assert!(
        info.out
            .contains("  IP 1                 : 127.0.0.1 Inactive: "),
        "{}",
        info.out
    );
    assert!(info.out.contains("refuses connections"), "{}", info.out);
    home.mrhsm(["set", "-ip", "no-such-host.invalid"]).done();
    assert!(
        home.mrhsm(["info", "-config"])
            .done()
            .out
            .contains("'no-such-host.invalid' is unknown")
    );
    let (_listener, port) = silent_host();
    let (_other, other) = silent_host();
    let hosts = format!("127.0.0.1:{port},127.0.0.1:{other}");
    home.mrhsm([
        "set",
        "-ip",
        &hosts,
        "-connecttimeout",
        "1500ms",
        "-timeout",
        "1500ms",
    ])
    .done();
    let start = Instant::now();
    let info = home.mrhsm(["info", "-config", "-json"]).done().json();
    assert!(
        start.elapsed() < Duration::from_millis(2900),
        "both are asked at once: {:?}",
        start.elapsed()
    );
    for host in info["config"]["hosts"].as_array().unwrap() {
        assert_eq!(host["active"], false);
        assert!(
            host["reason"].as_str().unwrap().contains("does not answer"),
            "{host}"
        );
    }
    home.refuses_after_output(
        ["configure", "-label", "demo", "-cluster", "c"],
        4,
        "No KMIP server is active",
    );
}

#[test]
fn enable_needs_a_configured_token_and_a_cluster() {
    let home = Home::new();
    home.refuses(
        ["enable", "-cluster", "c"],
        6,
        "Make one with: mrhsm init -label NAME",
    );
    let home = Home::with_token();
    home.refuses(
        ["enable", "-cluster", "c"],
        6,
        "mrhsm set -ip HOST -clientcert FILE -clientkey FILE",
    );
    home.refuses(
        ["set", "-active", "true"],
        6,
        "Make them with: mrhsm enable",
    );
    home.refuses(
        ["rekey", "-keytype", "core"],
        6,
        "Make them with: mrhsm enable",
    );
    let (home, _) = configured(closed_port());
    home.refuses(["enable"], 1, "mapr-clusters.conf");
    home.refuses(
        ["enable", "-cluster", "a/b"],
        6,
        "'a/b' is not a cluster name",
    );
    home.write(
        "conf/mapr-clusters.conf",
        b"my.cluster.com secure=true node1:7222\n",
        0o644,
    );
    home.write("conf/dare.master.key", &[7; 32], 0o600);
    // The refusal of the seeds, word for word, before any PIN is asked for.
    let mut command = home.command(["enable"]);
    command.env_remove("MRHSM_SO_PIN_FILE");
    let path = home.arg("conf/dare.master.key");
    let refused = run(command).refused(6, "");
    assert_eq!(
        refused.err,
        format!(
            "Existing DARE master key found at {path}, and -dare is not specified\n\
             Use the -dare option to import the DARE master key into the HSM.\n"
        )
    );
    home.write("conf/dare.master.key", b"not a key", 0o600);
    home.refuses(["enable", "-dare"], 1, "which is no AES-256 key");
}

#[test]
fn a_damaged_configuration_is_refused_and_left_alone() {
    let home = Home::with_token();
    let path = home.path("tokens/mrhsm.conf");
    let good = std::fs::read_to_string(&path).unwrap();
    for (text, mode, sentence) in [
        (
            good.clone(),
            0o644,
            "is open to other users (mode 0644); close it with: chmod 600",
        ),
        (
            good[..good.find("serial =").unwrap() + 12].to_string(),
            0o600,
            "mrhsm.conf, line ",
        ),
        (
            good[..good.find("[[token]]").unwrap()].to_string(),
            0o600,
            "was cut off",
        ),
        (
            good.replace("version = 1", "version = 7"),
            0o600,
            "has format version 7",
        ),
        (
            good.replace("version = 1", ""),
            0o600,
            "does not begin with 'version = 1'",
        ),
        (good.replace("port =", "prot ="), 0o600, "unknown field"),
        (String::new(), 0o600, "damaged"),
    ] {
        home.write("tokens/mrhsm.conf", text.as_bytes(), mode);
        for command in [
            &["info"][..],
            &["set", "-port", "1"],
            &["enable", "-cluster", "c"],
            &["init", "-label", "b"],
        ] {
            home.refuses(command, 1, sentence);
        }
        let dump = home.mrhsm(["dump"]).done().out;
        assert!(dump.contains("FAULT: "), "{dump}");
        assert!(text.is_empty() || dump.contains("[defaults]"), "{dump}");
    }
    home.write("tokens/mrhsm.conf", good.as_bytes(), 0o600);
    std::fs::set_permissions(home.path("tokens"), PermissionsExt::from_mode(0o755)).unwrap();
    home.refuses(["info"], 1, "close it with: chmod 700");
    let dump = home.mrhsm(["dump"]).done();
    assert!(
        dump.out
            .contains("FAULT: open to other users; mend it with: chmod 700"),
        "{}",
        dump.out
    );
}

#[test]
fn a_choice_between_tokens() {
    let home = Home::with_token();
    home.mrhsm(["init", "-label", "second"]).done();
    let refused = home.refuses(
        ["info", "-kmip"],
        6,
        "has 2 tokens. Choose one with -token LABEL or -serial SERIAL:",
    );
    assert!(refused.err.contains("demo (serial ") && refused.err.contains("second (serial "));
    home.refuses(
        ["info", "-kmip", "-token", "third"],
        6,
        "has label 'third'. There are:",
    );
    let slots = home.mrhsm(["info", "-slots", "-json"]).done().json();
    assert_eq!(slots["slots"].as_array().unwrap().len(), 2);
    let serial = slots["slots"][1]["serial"].as_str().unwrap().to_uppercase();
    home.mrhsm(["set", "-port", "5699", "-serial", &serial])
        .done();
    assert_eq!(
        home.mrhsm(["info", "-config", "-token", "second", "-json"])
            .done()
            .json()["config"]["port"],
        5699
    );
    assert_eq!(
        home.mrhsm(["info", "-config", "-token", "demo", "-json"])
            .done()
            .json()["config"]["port"],
        5696
    );
}

#[test]
fn without_the_kept_user_pin_info_asks_for_it() {
    let home = Home::new();
    Authority::new("Test CA").issue_to(&home);
    let port = closed_port().to_string();
    let server = [
        "-ip",
        "127.0.0.1",
        "-port",
        &port,
        "-clientcert",
        "client.pem",
        "-clientkey",
        "client.key",
        "-cacert",
        "ca.pem",
    ];
    home.write("user.pin", b"user-5678", 0o600);
    home.mrhsm(
        ["init", "-label", "demo", "-userpin", "file:user.pin"]
            .iter()
            .chain(&server),
    )
    .done();
    home.refuses(["info", "-config"], 3, "use MRHSM_PIN_FILE");
    let mut command = home.command(["info", "-config"]);
    command.env("MRHSM_PIN_FILE", home.path("user.pin"));
    assert!(run(command).done().out.contains("refuses connections"));
    home.write("user.pin", b"wrong", 0o600);
    let mut command = home.command(["info", "-config"]);
    command.env("MRHSM_PIN_FILE", home.path("user.pin"));
    run(command).refused(3, "the user PIN is wrong");
    // What needs no connection needs no PIN.
    home.mrhsm(["info", "-slots", "-kmip"]).done();
}
