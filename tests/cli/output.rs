//! What commands print, and where.

use std::fs::File;
use std::process::{Command, Stdio};

use super::support::{Authority, Home, run};

#[test]
fn without_a_token_there_is_one_free_slot() {
    let home = Home::new();
    let slots = home.mrhsm(["info", "-slots"]).done().out;
    let description = format!("{:64}", "mrhsm slot ID 0x0");
    let blank = |n: usize| " ".repeat(n);
    let manufacturer = format!("{:32}", "mrhsm");
    assert_eq!(
        slots,
        format!(
            "Available slots:\n\
             Slot 0\n    \
                 Slot info:\n        \
                     Description:          {description}\n        \
                     Manufacturer ID:      {manufacturer}\n        \
                     Token present:        yes\n    \
                 Token info:\n        \
                     Manufacturer ID:      {manufacturer}\n        \
                     Model:                {:16}\n        \
                     Serial number:        {}\n        \
                     Initialized:          no\n        \
                     User PIN initialized: no\n        \
                     Label:                {}\n",
            "file token",
            blank(16),
            blank(32)
        )
    );
    assert!(!home.path("tokens").exists(), "info makes nothing");
}

#[test]
fn a_slot_has_the_last_digits_of_its_token_s_serial_number() {
    let home = Home::with_token();
    let slot = &home.mrhsm(["info", "-slots", "-json"]).done().json()["slots"][0];
    let serial = slot["serial"].as_str().unwrap();
    let id = u32::from_str_radix(&serial[8..], 16).unwrap() & 0x7fff_ffff;
    assert_eq!(slot["id"], id);
    assert_eq!(slot["description"], format!("mrhsm slot ID {id:#x}"));
    assert_eq!(
        (slot["manufacturer"].as_str(), slot["model"].as_str()),
        (Some("mrhsm"), Some("KMIP token"))
    );
    let text = home.mrhsm(["info", "-slots"]).done().out;
    assert!(text.contains(&format!("Slot {id}\n")), "{text}");
    assert!(
        text.contains(&format!("        Label:                {:32}\n", "demo")),
        "{text}"
    );
}

#[test]
fn the_configuration_is_shown_with_its_certificates() {
    let home = Home::with_token();
    Authority::new("Test CA").issue_to(&home);
    home.mrhsm([
        "set",
        "-cacert",
        "ca.pem",
        "-clientcert",
        "client.pem",
        "-clientkey",
        "client.key",
        "-kmipversion",
        "1.2",
    ])
    .done();
    let text = home.mrhsm(["info", "-config"]).done().out;
    for lines in [
        "Displaying information for KMIP token with serial ",
        "\nIPs\n  Not configured\nPort                   : 5696\nKMIP Version           : 1.2\nKey Policy             : default\nKMIP Client Key        : Configured\n\n",
        "\nKMIP Client Certificate:\n    Subject: /CN=client\n    Issuer: /CN=Test CA\n    Version: 3\n",
        "    Validity:\n        Not before: Jan  1 00:00:00 2020 GMT\n        Not after: Jan  1 00:00:00 2099 GMT\n",
        "\nKMIP CA Certificate:\n    Subject: /CN=Test CA\n",
    ] {
        assert!(text.contains(lines), "{lines:?} is not in {text}");
    }
    home.mrhsm(["remove", "-kmipversion", "-clientkey", "-cacert"])
        .done();
    let text = home.mrhsm(["info", "-config"]).done().out;
    assert!(
        text.contains("KMIP Version           : auto\nKey Policy             : default\nKMIP Client Key        : Not configured\n"),
        "{text}"
    );
    assert!(
        text.contains("KMIP CA Certificate    : The system's CA certificates\n"),
        "{text}"
    );
}

#[test]
fn settings_are_kept_and_removed_one_by_one() {
    let home = Home::with_token();
    let shown = || {
        let mut shown = home.mrhsm(["info", "-config", "-json"]).done().json();
        let version = shown["config"]["settings_version"].take();
        (shown, version.as_u64().unwrap())
    };
    let (unset, first) = shown();
    home.mrhsm([
        "set",
        "-ip",
        "kms1,[fd00::1]:5697,kms1",
        "-port",
        "5700",
        "-servername",
        "kms.example",
        "-kmipversion",
        "2.1",
        "-username",
        "me",
        "-password",
        "env:HOME",
        "-connecttimeout",
        "900ms",
        "-timeout",
        "1m",
        "-crypto",
        "local",
        "-keycache",
        "0",
        "-policy",
        "strict",
        "-maxpinfailures",
        "5",
    ])
    .done();
    let config = &home.mrhsm(["info", "-config", "-json"]).done().json()["config"];
    let hosts: Vec<_> = config["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| h["host"].as_str().unwrap())
        .collect();
    assert_eq!(hosts, ["kms1", "[fd00::1]:5697"]);
    let expected = serde_json::json!({
        "port": 5700, "server_name": "kms.example", "kmip_version": "2.1", "connect_millis": 900, "deadline_millis": 60000,
        "crypto": "local", "key_cache_millis": 0, "policy": "strict", "username": "me", "password": true, "client_key": false,
        "max_pin_failures": 5, "pin_failures": { "so": 0, "user": 0 },
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&config[field], value, "{field}");
    }
    // Nothing to do: said so, and nothing is written.
    let before = home.snapshot();
    assert_eq!(
        home.mrhsm(["set", "-port", "5700", "-json"]).done().json()["changed"],
        false
    );
    assert_eq!(home.snapshot(), before);
    for option in [
        "-ip",
        "-port",
        "-servername",
        "-kmipversion",
        "-username",
        "-connecttimeout",
        "-timeout",
        "-crypto",
        "-keycache",
        "-policy",
        "-maxpinfailures",
    ] {
        home.mrhsm(["remove", option]).done();
    }
    let (now, last) = shown();
    assert_eq!((now, last), (unset, first + 12), "one change each");
}

#[test]
fn a_token_directory_copied_elsewhere_is_the_same() {
    let home = Home::with_token();
    home.mrhsm(["set", "-port", "5700"]).done();
    let copied = Command::new("cp")
        .args(["-a", "tokens", "elsewhere"])
        .current_dir(home.path(""))
        .status()
        .unwrap();
    assert!(copied.success());
    let shown = |dir: &str| home.mrhsm(["info", "-json", "-tokendir", dir]).done().out;
    assert_eq!(shown("tokens"), shown("elsewhere"));
    home.mrhsm(["set", "-port", "5701", "-tokendir", "elsewhere"])
        .done();
    assert!(shown("elsewhere").contains("5701") && shown("tokens").contains("5700"));
}

#[test]
fn nobody_reads_on() {
    let home = Home::with_token();
    let mut command = home.command(["dump"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), &b""[..])
    );

    let mut command = home.command(["dump"]);
    let output = command
        .stdout(File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("cannot write the result to standard output")
    );
}

#[test]
fn help_and_version_succeed_and_show_one_dash() {
    let home = Home::new();
    for args in [
        &["-help"][..],
        &["--help"],
        &["-h"],
        &["help"],
        &["help", "set"],
        &["set", "-help"],
    ] {
        let help = home.mrhsm(args).done();
        assert!(
            help.err.is_empty() && help.out.contains("\nUsage: mrhsm"),
            "{help:#?}"
        );
        assert!(!help.out.contains("--"), "{}", help.out);
    }
    assert_eq!(
        home.mrhsm(["-version"]).done().out,
        format!("mrhsm {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn completions_are_scripts_that_complete() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "man"] {
        let script = home.mrhsm(["completions", shell]).done().out;
        assert!(script.contains("keytype"), "{shell}");
        assert!(!script.contains("--keytype"), "{shell}");
        home.write(shell, script.as_bytes(), 0o600);
    }
    let bash = "source ./bash; COMP_WORDS=(mrhsm rekey -key); COMP_CWORD=2; _mrhsm mrhsm -key rekey; echo ${COMPREPLY[@]}";
    let mut command = Command::new("bash");
    command.args(["-c", bash]).current_dir(home.path(""));
    assert_eq!(run(command).done().out, "-keytype\n");
}

#[test]
fn a_dump_tells_what_is_there_and_what_is_wrong() {
    let home = Home::with_token();
    let entries = home.mrhsm(["dump", "-json"]).done().json();
    let names: Vec<_> = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["path"].as_str().unwrap().to_string())
        .collect();
    assert!(names.iter().any(|n| n.ends_with("/token.key")), "{names:?}");
    assert!(
        entries["entries"]
            .as_array()
            .unwrap()
            .iter()
            .all(|e| e["faults"].as_array().unwrap().is_empty()),
        "{entries}"
    );

    let folder = home
        .path("tokens")
        .join(entries["entries"][0]["path"].as_str().unwrap())
        .clone();
    let token = names
        .iter()
        .find(|n| n.ends_with("/token.key"))
        .unwrap()
        .trim_end_matches("/token.key");
    assert!(token.starts_with(folder.to_str().unwrap()));
    std::fs::write(format!("{token}/token.key"), "version = 1\n").unwrap();
    std::fs::write(
        format!("{token}/client.key"),
        "-----BEGIN PRIVATE KEY-----\nsecret\n",
    )
    .unwrap();
    std::os::unix::fs::symlink("/etc/passwd", format!("{token}/ca.pem")).unwrap();
    let dump = home.mrhsm(["dump", "-token", "demo"]).done().out;
    for line in [
        "FAULT: ",
        "token.key is damaged",
        "not sealed by mrhsm",
        "neither a file nor a folder",
    ] {
        assert!(dump.contains(line), "'{line}' is not in {dump}");
    }
    assert!(
        !dump.contains("root:") && !dump.contains("secret\n"),
        "{dump}"
    );
    home.refuses(["dump", "-path", "nosuch"], 1, "cannot read nosuch");
}

#[test]
fn a_full_or_a_read_only_disk_changes_nothing() {
    let home = Home::with_token();
    Authority::new("Test CA").issue_to(&home);
    let before = home.snapshot();
    for args in [
        &["set", "-port", "5700"][..],
        &[
            "set",
            "-cacert",
            "ca.pem",
            "-clientcert",
            "client.pem",
            "-clientkey",
            "client.key",
        ],
        &["remove", "-kmipversion", "-port", "-cacert"],
        &["sopin", "-newsopin", "env:HOME"],
        &["init", "-label", "second"],
    ] {
        let refused = run(Home::without_room(home.command(args))).failed(1, "File too large");
        assert!(refused.err.contains("cannot write"), "{refused:#?}");
        assert_eq!(home.snapshot(), before, "{args:?}");
        home.read_only(home.command(args))
            .failed(1, "run mrhsm as the owner of the directory");
        assert_eq!(home.snapshot(), before, "{args:?}");
    }
    home.mrhsm(["set", "-port", "5700"]).done();
}
