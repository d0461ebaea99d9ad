//! Somebody who writes to the token directory and has no PIN: what was changed is not used.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::cluster::{ENABLE, node, options, server};
use super::support::{Authority, Home, Run, SO_PIN};
use crate::kmip_server::Server;

/// What every refusal says.
const ADVICE: &str = "mrhsm set -accept";

/// The attacker's server.
struct Trap(TcpListener);

impl Trap {
    fn new() -> Trap {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Trap(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Whether anybody connected since the last time.
    fn was_reached(&self) -> bool {
        match self.0.accept() {
            Ok(_) => true,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }
}

/// The folder of the only token.
fn folder(home: &Home) -> PathBuf {
    let folders: Vec<PathBuf> = fs::read_dir(home.path("tokens"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(folders.len(), 1);
    folders[0].clone()
}

fn edit(home: &Home, from: &str, to: &str) {
    let path = home.path("tokens/mrhsm.conf");
    let text = fs::read_to_string(&path).unwrap();
    let (defaults, token) = text.split_at(text.find("[[token]]").unwrap());
    assert!(token.contains(from), "{text}");
    fs::write(path, defaults.to_owned() + &token.replace(from, to)).unwrap();
}

/// Another port, and an authority that has signed the attacker's certificate.
fn redirect(home: &Home, server: &Server, trap: &Trap) {
    edit(
        home,
        &format!("port = {}", server.port()),
        &format!("port = {}", trap.port()),
    );
    fs::write(folder(home).join("ca.pem"), Authority::new("evil").pem()).unwrap();
}

#[track_caller]
fn refused(run: &Run, sentences: &[&str]) {
    assert_eq!(run.code, 7, "{run:#?}");
    for sentence in sentences.iter().chain(&[ADVICE]) {
        assert!(run.err.contains(sentence), "'{sentence}': {run:#?}");
    }
}

#[test]
fn a_redirected_token_reaches_nobody_before_the_so_accepts_it() {
    let server = server();
    let home = node(&server);
    home.mrhsm(ENABLE).done();
    let trap = Trap::new();
    let requests = server.accepted();
    redirect(&home, &server, &trap);
    let before = home.snapshot();
    let mut configure: Vec<String> = vec!["configure".into(), "-label".into(), "demo".into()];
    configure.extend(["-cluster".into(), "my.cluster.com".into(), "-dare".into()]);
    let configure: Vec<&str> = configure.iter().map(String::as_str).collect();
    for args in [
        &["info"][..],
        &["info", "-config"],
        &["info", "-kmip"],
        &ENABLE,
        &["enable", "-active", "false"],
        &["rekey", "-keytype", "core"],
        &["set", "-timeout", "5s"],
        &["set", "-active", "no"],
        &["remove", "-username"],
        &configure,
    ] {
        let run = home.mrhsm(args);
        let port = format!("port is {}, accepted was {}", trap.port(), server.port());
        refused(&run, &[&port, "ca.pem is another"]);
        assert!(!trap.was_reached(), "{args:?}");
    }
    assert_eq!(home.snapshot(), before, "nothing was written");
    assert_eq!(server.accepted(), requests);

    let shown = home.mrhsm(["info", "-config", "-json"]);
    assert_eq!(shown.code, 7);
    let shown = &shown.json()["config"];
    assert_eq!(shown["authenticated"], false);
    assert_eq!(shown["port"], trap.port());
    let reason = shown["hosts"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("changed outside mrhsm"), "{reason}");

    let accepted = home
        .mrhsm([
            "set",
            "-accept",
            "-timeout",
            "300ms",
            "-connecttimeout",
            "300ms",
        ])
        .done();
    assert!(
        accepted.err.contains("Accepted: port is") && accepted.err.contains("Accepted: ca.pem"),
        "{accepted:#?}"
    );
    assert!(!trap.was_reached());
    let shown = home.mrhsm(["info", "-config", "-json"]).done().json();
    assert_eq!(shown["config"]["authenticated"], true);
    assert!(trap.was_reached(), "the trap works");
    let again = home.mrhsm(["set", "-accept"]).done();
    assert!(again.err.contains("nothing is changed"), "{again:#?}");
}

#[test]
fn the_old_settings_put_back_are_used_again() {
    let server = server();
    let home = node(&server);
    let (config, ca) = (home.path("tokens/mrhsm.conf"), folder(&home).join("ca.pem"));
    let before = [&config, &ca].map(|path| fs::read(path).unwrap());
    redirect(&home, &server, &Trap::new());
    refused(&home.mrhsm(["info"]), &[]);
    fs::write(config, &before[0]).unwrap();
    fs::write(ca, &before[1]).unwrap();
    home.mrhsm(ENABLE).done();
}

#[test]
fn roles_and_the_record_are_authenticated() {
    let server = server();
    let home = node(&server);
    home.mrhsm(ENABLE).done();
    let config = home.path("tokens/mrhsm.conf");
    let good = fs::read_to_string(&config).unwrap();
    for (a, b) in [("cldb", "dare"), ("core", "common"), ("dare", "common")] {
        let [a, b] = [a, b].map(|role| format!("[token.keys.{role}]"));
        let swapped = good.replace(&a, "[X]").replace(&b, &a).replace("[X]", &b);
        fs::write(&config, swapped).unwrap();
        refused(&home.mrhsm(ENABLE), &["keys."]);
        refused(&home.mrhsm(["rekey", "-keytype", "core"]), &["keys."]);
    }
    fs::write(&config, &good).unwrap();

    let record = folder(&home).join("accepted");
    let old = fs::read(&record).unwrap();
    home.mrhsm(["set", "-timeout", "9s"]).done();
    let new = fs::read(&record).unwrap();
    fs::write(&record, old).unwrap();
    refused(
        &home.mrhsm(ENABLE),
        &["deadline_millis is 9000, accepted was 10000"],
    );
    fs::remove_file(&record).unwrap();
    refused(&home.mrhsm(ENABLE), &["accepted is missing"]);
    fs::write(&record, b"mrhsm sealed 2\n").unwrap();
    fs::set_permissions(&record, fs::Permissions::from_mode(0o600)).unwrap();
    refused(&home.mrhsm(ENABLE), &["damaged or of another token"]);
    fs::write(&record, new).unwrap();
    home.mrhsm(ENABLE).done();
}

/// A client key that does not open can be replaced, and that needs the SO's consent to the rest.
#[test]
fn a_damaged_client_key_is_set_again() {
    let server = server();
    let home = node(&server);
    fs::write(folder(&home).join("client.key"), b"nonsense").unwrap();
    refused(&home.mrhsm(["info", "-config"]), &["client.key is another"]);
    let mut set = vec!["set".to_string(), "-accept".into()];
    set.extend(options(&server));
    home.mrhsm(set).done();
    home.mrhsm(ENABLE).done();
}

#[test]
fn without_a_pin_the_settings_are_shown_as_not_verified() {
    let home = Home::new();
    home.mrhsm([
        "init",
        "-label",
        "demo",
        "-userpin",
        "file:so.pin",
        "-ip",
        "kms",
    ])
    .done();
    let shown = home.mrhsm(["info", "-config", "-kmip"]).done();
    assert_eq!(shown.out.matches("not verified").count(), 2, "{shown:#?}");
    let shown = home.mrhsm(["info", "-json"]).done().json();
    assert!(shown["config"]["authenticated"].is_null() && shown["kmip"]["authenticated"].is_null());
    let mut command = home.command(["info", "-config", "-json"]);
    command.env("MRHSM_PIN_FILE", home.path("so.pin"));
    let shown = super::support::run(command).done().json();
    assert_eq!(shown["config"]["authenticated"], true);
    assert_eq!(shown["config"]["settings_version"], 1);
}

#[test]
fn hosts_of_the_defaults_are_named_when_a_token_takes_them() {
    let home = Home::new();
    home.mrhsm(["init", "-label", "first"]).done();
    let path = home.path("tokens/mrhsm.conf");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replacen("hosts = []", "hosts = [\"kms1\", \"kms2\"]", 1),
    )
    .unwrap();
    let made = home.mrhsm(["init", "-label", "second"]).done();
    assert!(
        made.err.contains("[defaults]") && made.err.contains("kms1, kms2"),
        "{made:#?}"
    );
    let made = home
        .mrhsm(["init", "-label", "third", "-ip", "kms3"])
        .done();
    assert!(!made.err.contains("[defaults]"), "{made:#?}");
}

/// Comments and other tokens are nobody's secret.
#[test]
fn formatting_and_other_tokens_do_not_matter() {
    let home = Home::with_token();
    edit(&home, "port = 5696", "port=5696 # the usual one");
    home.mrhsm(["info", "-json"]).done();
    home.mrhsm(["set", "-timeout", "9s"]).done();
    home.mrhsm(["init", "-label", "other"]).done();
    let shown = home
        .mrhsm(["info", "-token", "demo", "-json"])
        .done()
        .json();
    assert_eq!(shown["config"]["authenticated"], true);
}

fn copy(from: &Path, to: &Path) {
    let meta = fs::metadata(from).unwrap();
    if meta.is_dir() {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
    let mode = if meta.is_dir() { 0o700 } else { 0o600 };
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).unwrap();
}

/// A token that a version without records made.
fn earlier() -> Home {
    let home = Home::new();
    let stored = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/cli/earlier");
    copy(&stored, &home.path("tokens"));
    home
}

#[test]
fn a_token_of_an_earlier_version_is_adopted_and_then_guarded() {
    for first in [
        &["info", "-config", "-json"][..],
        &["set", "-timeout", "300ms"],
    ] {
        let home = earlier();
        assert_eq!(SO_PIN, "so-1234", "the SO PIN of the stored token");
        home.mrhsm(first).done();
        let record = folder(&home).join("accepted");
        let shown = home.mrhsm(["info", "-config", "-json"]).done().json();
        assert_eq!(shown["config"]["authenticated"], true);
        assert!(record.exists());

        let trap = Trap::new();
        edit(&home, "127.0.0.1:1", &format!("127.0.0.1:{}", trap.port()));
        refused(&home.mrhsm(["info"]), &["hosts is"]);
        fs::remove_file(&record).unwrap();
        for command in [&["info"][..], &["set", "-timeout", "300ms"]] {
            refused(&home.mrhsm(command), &["accepted is missing"]);
        }
        assert!(!trap.was_reached());
        home.mrhsm(["set", "-accept", "-timeout", "300ms"]).done();
        home.mrhsm(["info"]).done();
        assert!(trap.was_reached(), "the trap works");
    }
}

#[test]
fn a_read_only_directory_of_an_earlier_version_works_each_time() {
    let home = earlier();
    for _ in 0..2 {
        let before = home.snapshot();
        let shown = home
            .read_only(home.command(["info", "-config", "-json"]))
            .done()
            .json();
        assert_eq!(shown["config"]["authenticated"], true);
        assert!(shown["config"]["settings_version"].is_null());
        assert_eq!(home.snapshot(), before);
    }
}
