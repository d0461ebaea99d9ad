//! The cluster's keys, from `init` to `rekey`, on a server that misbehaves on demand.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mrhsm_pkcs11::kmip::State;

use super::support::{Home, Run, SO_PIN, for_each, run};
use crate::kmip_server::{Fault, Pair, Personality, Pki, Script, Server, Setup};

/// Above and below the advice.
const RULER: &str =
    "##############################################################################\n";

pub fn server() -> Server {
    Server::start(Personality::pykmip_like(), Script::none())
}

/// The options that point a token at a server.
pub fn options(server: &Server) -> Vec<String> {
    options_with(server, &server.pki().client)
}

fn options_with(server: &Server, client: &Pair) -> Vec<String> {
    let path = |p: &std::path::Path| p.to_str().unwrap().to_string();
    let mut options: Vec<String> = ["-ip", "127.0.0.1", "-port"].map(String::from).into();
    options.push(server.port().to_string());
    for (option, file) in [
        ("-cacert", &server.pki().ca),
        ("-clientcert", &client.cert),
        ("-clientkey", &client.key),
    ] {
        options.extend([option.to_string(), path(file)]);
    }
    options
}

/// A home with a token that is set up for the server.
pub fn node(server: &Server) -> Home {
    let home = Home::new();
    let mut args = vec!["init".to_string(), "-label".into(), "demo".into()];
    args.extend(options(server));
    home.mrhsm(args).done();
    home
}

/// Puts all four keys in use.
pub const ENABLE: [&str; 4] = ["enable", "-dare", "-cluster", "my.cluster.com"];

/// Checksums and identifiers of the four keys, with the wrapped values left out.
pub fn keys(home: &Home) -> serde_json::Value {
    let mut keys = home.mrhsm(["info", "-kmip", "-json"]).done().json()["kmip"]["keys"].take();
    for key in keys
        .as_object_mut()
        .unwrap()
        .values_mut()
        .filter_map(|k| k.as_object_mut())
    {
        key.remove("wrapped");
    }
    keys
}

/// The server holds the cluster's keys once each, all of them Active.
#[track_caller]
pub fn four_keys_and_no_more(server: &Server) {
    let objects = server.objects();
    let mut names: Vec<_> = objects.iter().flat_map(|o| o.names.clone()).collect();
    names.sort();
    let expected =
        ["cldb", "common", "core", "dare"].map(|role| format!("mrhsm:my.cluster.com:{role}:1"));
    assert_eq!(names, expected, "{objects:#?}");
    assert!(
        objects.iter().all(|o| o.state == State::ACTIVE),
        "{objects:#?}"
    );
}

/// The text with the keys' identifiers and checksums and the test's own folder under names that do not vary.
fn without_identifiers(text: &str, home: &Home) -> String {
    let keys = keys(home);
    let mut text = text.replace(
        home.path("").to_str().unwrap().trim_end_matches('/'),
        "HOME",
    );
    for (role, key) in keys.as_object().unwrap() {
        text = text.replace(key["checksum"].as_str().unwrap(), &format!("<{role} sum>"));
        text = text.replace(
            &format!("UUID {}\n", key["uid"].as_str().unwrap()),
            &format!("UUID <{role} uid>\n"),
        );
    }
    text
}

#[test]
fn enable_imports_the_keys_of_a_cluster_and_says_so() {
    let server = server();
    let home = node(&server);
    home.write(
        "conf/mapr-clusters.conf",
        b"my.cluster.com secure=true node1:7222\n",
        0o644,
    );
    home.write("conf/cldb.key", &[0xa5; 32], 0o600);
    home.write(
        "conf/dare.master.key",
        format!("{}\n", "5a".repeat(32)).as_bytes(),
        0o600,
    );
    let enabled = home.mrhsm(["enable", "-dare"]).done();
    let told = without_identifiers(&enabled.out, &home);
    let (lines, advice) = told.split_once(RULER).unwrap();
    assert_eq!(
        lines,
        "Obtained cluster name my.cluster.com from mapr-clusters.conf\n\
         Enabling mrhsm on cluster my.cluster.com\n\
         Successfully generated Core KEK, UUID <core uid>\n\
         SHA-256 checksum for Core KEK is <core sum>\n\
         Successfully generated Common KEK, UUID <common uid>\n\
         SHA-256 checksum for Common KEK is <common sum>\n\
         SHA-256 checksum for CLDB key is <cldb sum>\n\
         Successfully set encrypted CLDB key in KMIP configuration\n\
         SHA-256 checksum for DARE key is <dare sum>\n\
         Successfully set encrypted DARE key in KMIP configuration\n"
    );
    assert!(
        advice.starts_with("The CLDB and DARE master keys are now protected by the HSM.\n"),
        "{advice}"
    );
    assert!(
        advice.ends_with(&format!("run the cluster.\n{RULER}")),
        "{advice}"
    );
    assert!(
        enabled.err.contains("Imported CLDB key from "),
        "{enabled:#?}"
    );
    four_keys_and_no_more(&server);
    // The SHA-256 of 32 times A5, and of 32 times 5A.
    let sums = keys(&home);
    assert_eq!(sums["cldb"]["checksum"], sha256(&[0xa5; 32]));
    assert_eq!(sums["dare"]["checksum"], sha256(&[0x5a; 32]));

    let shown = home.mrhsm(["info", "-kmip"]).done().out;
    for lines in [
        "\nCLDB:\n    Encrypted Key   : ",
        "\nDARE :\n    Encrypted Key   : ",
        "\nCore KEK :\n    UUID            : ",
    ] {
        assert!(shown.contains(lines), "{shown}");
    }
    assert!(shown.ends_with("\nEnabled             : Yes\n"), "{shown}");

    let before = home.snapshot();
    let again = home.mrhsm(["enable", "-dare"]).done();
    assert!(again.out.contains("nothing is changed"), "{again:#?}");
    assert_eq!(home.snapshot(), before);
    home.refuses(["enable"], 6, "-dare is not specified");
    four_keys_and_no_more(&server);
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect()
}

#[test]
fn a_lost_token_directory_is_made_again_and_adopts_the_keys() {
    let server = server();
    let home = node(&server);
    let first = home.mrhsm(ENABLE).done();
    assert!(
        !first.out.contains("Back up"),
        "there are no key files to back up: {}",
        first.out
    );
    let before = keys(&home);
    std::fs::remove_dir_all(home.path("tokens")).unwrap();
    home.mrhsm(
        ["init", "-label", "again"]
            .map(String::from)
            .into_iter()
            .chain(options(&server)),
    )
    .done();
    let adopted = home.mrhsm(ENABLE).done();
    assert_eq!(
        adopted.out.matches("Found existing ").count(),
        4,
        "{}",
        adopted.out
    );
    assert_eq!(keys(&home), before);
    four_keys_and_no_more(&server);
}

/// The CLDB key as `mrhsm.conf` holds it.
pub fn wrapped(home: &Home) -> serde_json::Value {
    home.mrhsm(["info", "-kmip", "-json"]).done().json()["kmip"]["keys"]["cldb"]["wrapped"].take()
}

#[test]
fn rekey_changes_the_kek_and_only_the_kek() {
    let server = server();
    let home = node(&server);
    home.mrhsm(ENABLE).done();
    let before = keys(&home);
    let wrapped_before = wrapped(&home);
    home.mrhsm(["rekey", "-keytype", "core"]).done();
    let after = keys(&home);
    assert_ne!(before["core"], after["core"]);
    assert_eq!(after["core"]["generation"], 2);
    for role in ["common", "cldb", "dare"] {
        assert_eq!(before[role], after[role], "{role}");
    }
    assert_ne!(wrapped_before, wrapped(&home));
    let old = before["core"]["uid"].as_str().unwrap();
    assert!(
        server
            .objects()
            .iter()
            .any(|o| o.uid == old && o.state == State::ACTIVE),
        "the old KEK serves the other nodes"
    );
    let rekeyed = home
        .mrhsm(["rekey", "-keytype", "common", "-json"])
        .done()
        .json();
    assert_eq!(rekeyed["keys"]["common"]["generation"], 2);
    assert_eq!(
        rekeyed["keys"]["core"],
        home.mrhsm(["info", "-kmip", "-json"]).done().json()["kmip"]["keys"]["core"]
    );
    let again = home.mrhsm(ENABLE).done();
    assert!(again.out.contains("nothing is changed"), "{again:#?}");
}

#[test]
fn switched_off_and_on() {
    let server = server();
    let home = node(&server);
    home.mrhsm(ENABLE).done();
    let enabled = |home: &Home| {
        home.mrhsm(["info", "-kmip", "-json"]).done().json()["kmip"]["enabled"].clone()
    };
    for (off, on) in [
        (&["enable", "-active", "false"][..], &ENABLE[..]),
        (&["set", "-active", "no"], &["set", "-active", "yes"]),
    ] {
        home.mrhsm(off).done();
        assert_eq!(enabled(&home), false);
        home.mrhsm(on).done();
        assert_eq!(enabled(&home), true);
    }
    four_keys_and_no_more(&server);
}

#[test]
fn configure_goes_on_where_it_stopped() {
    let server = server();
    let home = Home::new();
    let args = || {
        let base = [
            "configure",
            "-label",
            "demo",
            "-dare",
            "-cluster",
            "my.cluster.com",
        ]
        .map(String::from);
        base.into_iter().chain(options(&server)).collect::<Vec<_>>()
    };
    server.stop();
    home.mrhsm(args()).failed(4, "No KMIP server is active");
    server.restart();
    home.mrhsm(args()).done();
    let before = home.snapshot();
    let again = home.mrhsm(args()).done();
    assert!(again.out.contains("nothing is changed"), "{again:#?}");
    assert_eq!(home.snapshot(), before);
    home.write("so.pin", b"wrong", 0o600);
    home.refuses(args(), 3, "the SO PIN is wrong");
    four_keys_and_no_more(&server);
    assert_eq!(
        home.mrhsm(["info", "-slots", "-json"]).done().json()["slots"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn two_nodes_that_enable_at_once_agree() {
    let server = server();
    let nodes = [node(&server), node(&server), node(&server)];
    let children: Vec<_> = nodes
        .iter()
        .map(|home| quietly(home.command(ENABLE)).spawn().unwrap())
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(keys(&nodes[0]), keys(&nodes[1]));
    assert_eq!(keys(&nodes[0]), keys(&nodes[2]));
}

/// Without input, with stderr kept.
pub fn quietly(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// How many requests a whole `enable` is.
fn requests_of_enable() -> usize {
    let server = server();
    let home = node(&server);
    home.mrhsm(ENABLE).done();
    server.count()
}

#[test]
fn killed_at_any_request_enable_is_completed_by_the_next() {
    for_each(1..=requests_of_enable(), |n| {
        let server = server();
        let home = node(&server);
        // The server has executed the request and does not answer: the command waits, and dies waiting.
        server.script(Script::none().at(n, Fault::Silence));
        let mut child = quietly(home.command(ENABLE)).spawn().unwrap();
        let start = Instant::now();
        while server.count() < n {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "request {n} never came"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        server.script(Script::none());
        home.mrhsm(ENABLE).done();
        four_keys_and_no_more(&server);
    });
}

#[test]
fn a_server_that_dies_at_any_request_leaves_the_configuration_alone() {
    for_each(1..=requests_of_enable(), |n| {
        let server = server();
        let home = node(&server);
        let before = home.snapshot();
        server.script(Script::none().at(n, Fault::Kill));
        home.mrhsm(ENABLE).failed(4, "127.0.0.1");
        assert_eq!(home.snapshot(), before, "request {n}");
        server.restart();
        home.mrhsm(ENABLE).done();
        four_keys_and_no_more(&server);
    });
}

/// The state that `info -config` shows of the only server.
fn state(home: &Home) -> String {
    let config = home.mrhsm(["info", "-config", "-json"]).done().json()["config"].take();
    config["hosts"][0]["reason"]
        .as_str()
        .unwrap_or("Active")
        .to_string()
}

#[test]
fn servers_that_are_not_trusted_and_those_that_do_not_trust_us() {
    let start = |certificate: fn(&Pki) -> &Pair| {
        Setup {
            certificate,
            ..Setup::new(Personality::pykmip_like())
        }
        .start()
    };
    for (server, reason) in [
        (start(|pki| &pki.server_expired), "expired"),
        (
            start(|pki| &pki.server_other_name),
            "is for elsewhere.example",
        ),
        (
            start(|pki| &pki.server_other_ca),
            "not signed by a CA that we trust",
        ),
    ] {
        let home = node(&server);
        let shown = state(&home);
        assert!(shown.contains(reason), "'{reason}' is not in '{shown}'");
        let before = home.snapshot();
        home.mrhsm(ENABLE).failed(4, reason);
        assert_eq!(home.snapshot(), before);
        assert!(server.objects().is_empty());
    }
    let server = start(|pki| &pki.server_other_name);
    let home = node(&server);
    home.mrhsm(["set", "-servername", "elsewhere.example"])
        .done();
    assert_eq!(state(&home), "Active");

    let server = start(|pki| &pki.server);
    let home = Home::with_token();
    home.mrhsm(
        ["set".to_string()]
            .into_iter()
            .chain(options_with(&server, &server.pki().client_other_ca)),
    )
    .done();
    let shown = state(&home);
    assert!(
        shown.contains("does not accept our client certificate"),
        "{shown}"
    );
    home.mrhsm(ENABLE)
        .failed(4, "does not accept our client certificate");
}

#[test]
fn a_log_of_everything_holds_no_secret() {
    let credential = Some(("kmip".to_string(), "swordfish".to_string()));
    let server = Setup {
        credential,
        ..Setup::new(Personality::standard())
    }
    .start();
    let home = Home::new();
    home.write("conf/cldb.key", &[0xa5; 32], 0o600);
    home.write("user.pin", b"user-5678", 0o600);
    home.write(
        "conf/mapr-clusters.conf",
        b"my.cluster.com secure=true\n",
        0o644,
    );
    let log = home.path("log");
    let logged = |args: Vec<String>| {
        let mut command = home.command(args);
        command
            .env("MRHSM_LOG", "debug")
            .env("MRHSM_LOG_FILE", &log)
            .env("MRHSM_PIN_FILE", home.path("user.pin"));
        run(command).done()
    };
    let words = |line: &str| line.split(' ').map(String::from).collect::<Vec<_>>();
    let init =
        words("init -label demo -userpin file:user.pin -username kmip -password pass:swordfish");
    let mut shown = String::new();
    for args in [
        init.into_iter().chain(options(&server)).collect(),
        words("info"),
        words("enable -dare"),
        words("rekey -keytype core"),
        words("info"),
        words("sopin -newsopin pass:so-new-9876"),
        words("dump"),
    ] {
        let said = logged(args);
        shown += &(said.out + &said.err);
    }
    let log = std::fs::read_to_string(log).unwrap();
    for logged in [
        "Operation: Register",
        "Operation: Get ",
        "<32 bytes, not shown>",
    ] {
        assert!(log.contains(logged), "'{logged}' is not logged");
    }
    let mut secrets: Vec<Vec<u8>> = [SO_PIN, "user-5678", "so-new-9876", "swordfish"]
        .map(|s| s.as_bytes().to_vec())
        .into();
    secrets.extend(
        server
            .objects()
            .iter()
            .filter_map(|object| server.value(&object.uid)),
    );
    assert_eq!(secrets.len(), 4 + 5);
    for secret in secrets {
        let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
        let text = String::from_utf8_lossy(&secret).into_owned();
        for place in [&log, &shown] {
            assert!(
                !place.contains(&text) && !place.to_lowercase().contains(&hex),
                "{text} {hex}"
            );
        }
    }
}

/// A token directory is copied as it is: both work, with the command and in an application, and each goes its own way.
#[test]
fn a_copied_token_directory_works_on() {
    let server = server();
    let home = node(&server);
    home.mrhsm(ENABLE).done();
    let before = keys(&home);
    let copied = Command::new("cp")
        .args(["-a", "tokens", "elsewhere"])
        .current_dir(home.path(""))
        .status()
        .unwrap();
    assert!(copied.success());
    let elsewhere = |args: &[&str]| {
        home.mrhsm(args.iter().copied().chain(["-tokendir", "elsewhere"]))
            .done()
    };
    assert!(elsewhere(&ENABLE).out.contains("nothing is changed"));
    // Two read while a third writes.
    let written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !written.load(Ordering::Relaxed) {
                    assert_eq!(keys(&home)["cldb"], before["cldb"]);
                    assert!(
                        home.mrhsm(["info", "-config"])
                            .done()
                            .out
                            .contains("127.0.0.1 Active")
                    );
                }
            });
        }
        home.mrhsm(["rekey", "-keytype", "core"]).done();
        written.store(true, Ordering::Relaxed);
    });
    assert!(
        elsewhere(&ENABLE).out.contains("nothing is changed"),
        "the old KEK serves the copy"
    );
    elsewhere(&["rekey", "-keytype", "core"]);
    assert_eq!(keys(&home)["core"]["generation"], 2);
    std::fs::remove_dir_all(home.path("tokens")).unwrap();
    std::fs::rename(home.path("elsewhere"), home.path("tokens")).unwrap();
    let after = keys(&home);
    assert_eq!(
        (&after["cldb"], &after["dare"]),
        (&before["cldb"], &before["dare"])
    );
}

#[test]
fn a_server_that_wants_a_password() {
    let credential = Some(("kmip".to_string(), "swordfish".to_string()));
    let server = Setup {
        credential,
        ..Setup::new(Personality::pykmip_like())
    }
    .start();
    let home = node(&server);
    assert_ne!(state(&home), "Active");
    home.mrhsm(ENABLE).failed(5, "127.0.0.1");
    home.write("password", b"swordfish\n", 0o600);
    home.mrhsm(["set", "-username", "kmip", "-password", "file:password"])
        .done();
    assert_eq!(state(&home), "Active");
    home.mrhsm(ENABLE).done();
    four_keys_and_no_more(&server);
}

#[test]
fn answers_that_are_no_kmip() {
    let server = server();
    let home = node(&server);
    server.script(Script::none().always(Fault::Garbage));
    assert_ne!(state(&home), "Active");
    let before = home.snapshot();
    let refused: Run = home.mrhsm(ENABLE);
    assert_eq!(refused.code, 5, "{refused:#?}");
    assert_eq!(home.snapshot(), before);
}

#[test]
fn a_silent_server_ends_with_the_deadline() {
    let server = server();
    let home = node(&server);
    home.mrhsm(["set", "-timeout", "1s"]).done();
    server.script(Script::none().always(Fault::Silence));
    let start = Instant::now();
    run(home.command(ENABLE)).failed(4, "127.0.0.1");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    server.stop();
    home.mrhsm(ENABLE).failed(4, "refuses connections");
    home.mrhsm(["set", "-ip", "no-such-host.invalid"]).done();
    home.mrhsm(ENABLE)
        .failed(4, "'no-such-host.invalid' is unknown");
}

#[test]
fn the_next_server_serves() {
    let (first, server) = (server(), server());
    let home = node(&server);
    first.stop();
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", first.port(), server.port());
    home.mrhsm(["set", "-ip", &hosts]).done();
    let shown = home.mrhsm(["info", "-config"]).done().out;
    assert!(
        shown.contains(&format!(
            "  IP 2                 : 127.0.0.1:{} Active\n",
            server.port()
        )),
        "{shown}"
    );
    home.mrhsm(ENABLE).done();
    four_keys_and_no_more(&server);
}

#[test]
fn a_file_token_keeps_the_keys_itself() {
    let home = Home::new();
    home.mrhsm(["init", "-label", "demo", "-storetype", "file"])
        .done();
    home.mrhsm(ENABLE).done();
    let before = keys(&home);
    assert!(
        home.mrhsm(["enable", "-dare"])
            .done()
            .out
            .contains("nothing is changed"),
        "it knows its cluster"
    );
    home.mrhsm(["rekey", "-keytype", "core"]).done();
    let after = keys(&home);
    assert_eq!(
        (&before["cldb"], &before["dare"]),
        (&after["cldb"], &after["dare"])
    );
    assert_ne!(before["core"], after["core"]);
    home.refuses(["set", "-active", "false"], 1, "cannot be switched off");
    let shown = home.mrhsm(["info"]).done().out;
    assert!(
        shown.contains("Displaying information for file token with serial "),
        "{shown}"
    );
    assert!(
        home.mrhsm(["dump"])
            .done()
            .out
            .contains("objects of a file token, sealed")
    );
}

#[test]
fn a_full_disk_or_a_read_only_one_leaves_the_keys_as_they_are() {
    let server = server();
    let home = node(&server);
    let attempts = |home: &Home, args: &[&str]| {
        let before = home.snapshot();
        let full = run(Home::without_room(home.command(args))).failed(1, "make room on its disk");
        assert!(
            full.err.contains("/accepted") && full.err.contains("cannot write"),
            "{full:#?}"
        );
        assert_eq!(home.snapshot(), before, "{args:?}");
        home.read_only(home.command(args)).failed(1, "cannot write");
        assert_eq!(home.snapshot(), before, "{args:?}");
    };
    attempts(&home, &ENABLE);
    home.mrhsm(ENABLE).done();
    four_keys_and_no_more(&server);
    let before = keys(&home);
    attempts(&home, &["rekey", "-keytype", "core"]);
    attempts(&home, &["rekey", "-keytype", "common"]);
    assert_eq!(keys(&home), before);
    home.mrhsm(["rekey", "-keytype", "core"]).done();
    assert_eq!(
        keys(&home)["core"]["generation"],
        2,
        "what the failed one made is used"
    );
    assert!(home.mrhsm(ENABLE).done().out.contains("nothing is changed"));
}
