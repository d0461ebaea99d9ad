//! A file token's keys on their way to a KMIP server: wished, carried out, interrupted, refused.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::config::StoreKind;
use mrhsm_pkcs11::kmip::{ObjectType, OperationCode, ResultReason, State};
use mrhsm_pkcs11::store::{Algorithm, Class, Curve, Filter, KeyStore, Meta, Spec, Uid, Usage};
use mrhsm_pkcs11::token::files::TokenDir;
use mrhsm_pkcs11::token::pin::Who;
use mrhsm_pkcs11::token::secrets::TokenFiles;
use mrhsm_pkcs11::token::{open_files, open_store};

use super::cluster::{ENABLE, options, quietly};
use super::support::{Home, run};
use crate::kmip_server::{Fault, Personality, Script, Seen, Server};
use crate::sql;

/// The token's own entry and the store that it says, opened as an application does.
fn store(
    home: &Home,
) -> (
    mrhsm_pkcs11::config::TokenConfig,
    std::sync::Arc<dyn KeyStore>,
) {
    let dir = TokenDir::at(home.path("tokens"));
    let token = dir.load().unwrap().tokens.remove(0);
    let files = TokenFiles::of(&dir, &token.uuid);
    let key = files
        .unlock(Who::User, files.kept_user_pin().unwrap().unwrap().expose())
        .unwrap();
    let store = open_store(&dir, files.trusted(&key).unwrap(), &key).unwrap();
    (token, store)
}

/// Objects of applications, one of each class, and a key that may not leave its store.
fn applications(store: &dyn KeyStore) {
    let spec = |class, algorithm, bits, label: &str| Spec {
        class,
        algorithm,
        bits,
        usage: Usage::ENCRYPT | Usage::DECRYPT,
        name: None,
        group: None,
        label: label.into(),
        id: b"\x00\xff id".to_vec(),
        sensitive: false,
        extractable: true,
        properties: BTreeMap::from([("priv".into(), "1".into()), ("use".into(), "3".into())]),
    };
    let closed = Spec {
        sensitive: true,
        extractable: false,
        ..spec(Class::SecretKey, Algorithm::Aes, 256, "closed")
    };
    store.create(&closed).unwrap();
    store
        .create(&spec(
            Class::SecretKey,
            Algorithm::Aes,
            128,
            "schl\u{fc}ssel",
        ))
        .unwrap();
    let half = |class, label, usage| Spec {
        usage,
        ..spec(class, Algorithm::Ec(Curve::P256), 256, label)
    };
    store
        .create_pair(
            &half(Class::PublicKey, "public", Usage::VERIFY),
            &Spec {
                sensitive: true,
                extractable: false,
                ..half(Class::PrivateKey, "private", Usage::SIGN)
            },
        )
        .unwrap();
    let issuer = rcgen::generate_simple_self_signed(["move.example".to_string()]).unwrap();
    store
        .register(
            &spec(Class::Certificate, Algorithm::None, 0, "certificate"),
            issuer.cert.der(),
        )
        .unwrap();
    store
        .register(&spec(Class::Data, Algorithm::None, 0, "data"), b"hello")
        .unwrap();
}

/// What is known of an object wherever it is, by its label; its value where it can be read.
type Held = (
    Class,
    Option<Vec<u8>>,
    Option<bool>,
    Option<bool>,
    BTreeMap<String, String>,
    Option<Vec<u8>>,
);

fn held(store: &dyn KeyStore, readable: bool) -> BTreeMap<String, Held> {
    let metas: Vec<Meta> = store
        .meta(&store.locate(&Filter::default()).unwrap())
        .unwrap();
    let count = metas.len();
    let held: BTreeMap<String, Held> = metas
        .into_iter()
        .map(|mut meta| {
            meta.properties.remove("moved");
            let value = (readable || meta.extractable == Some(true))
                .then(|| store.fetch(&meta.uid).unwrap().expose().to_vec());
            let value = value.filter(|_| meta.extractable == Some(true));
            let label = String::from_utf8(meta.label.unwrap()).unwrap();
            (
                label,
                (
                    meta.class,
                    meta.id,
                    meta.sensitive,
                    meta.extractable,
                    meta.properties,
                    value,
                ),
            )
        })
        .collect();
    assert_eq!(held.len(), count, "twins");
    held
}

/// An enabled file token with objects of applications, and what they are.
fn file_token() -> (Home, BTreeMap<String, Held>) {
    let home = Home::new();
    home.mrhsm(["init", "-label", "demo", "-storetype", "file"])
        .done();
    home.mrhsm(ENABLE).done();
    let (_, store) = store(&home);
    applications(store.as_ref());
    let held = held(store.as_ref(), true);
    assert_eq!(held.len(), 10);
    (home, held)
}

fn wish(home: &Home, server: &Server) {
    let args = ["set", "-storetype", "kmip"]
        .map(String::from)
        .into_iter()
        .chain(options(server));
    let wished = home.mrhsm(args).done();
    assert!(
        wished
            .err
            .contains("until they are moved with: mrhsm enable"),
        "{wished:#?}"
    );
}

/// Checksums and generations of the four keys.
fn sums(
    home: &Home,
) -> Vec<(
    String,
    serde_json::Value,
    serde_json::Value,
    serde_json::Value,
)> {
    let keys = home.mrhsm(["info", "-kmip", "-json"]).done().json()["kmip"]["keys"].take();
    let keys = keys.as_object().unwrap();
    keys.iter()
        .map(|(role, k)| {
            (
                role.clone(),
                k["checksum"].clone(),
                k["generation"].clone(),
                k["wrapped"].clone(),
            )
        })
        .collect()
}

#[track_caller]
fn is_moved(home: &Home, before: &BTreeMap<String, Held>) {
    let (token, store) = store(home);
    assert_eq!(
        (token.settings.store, token.moving, token.enabled),
        (StoreKind::Kmip, false, true)
    );
    assert_eq!(held(store.as_ref(), false), *before);
    assert!(
        !home
            .path("tokens")
            .join(&token.uuid)
            .join("objects")
            .exists()
    );
    for role in ["core", "common", "cldb", "dare"] {
        let name = format!("mrhsm:my.cluster.com:{role}:1");
        assert_eq!(
            store
                .locate(&Filter {
                    name: Some(name),
                    ..Filter::default()
                })
                .unwrap()
                .len(),
            1
        );
    }
    assert!(home.mrhsm(ENABLE).done().out.contains("nothing is changed"));
}

#[test]
fn everything_moves_to_servers_of_every_character() {
    for personality in [
        Personality::standard(),
        Personality::pykmip_like(),
        Personality::cosmian_like(),
    ] {
        let server = Server::start(personality, Script::none());
        let (home, before) = file_token();
        let sums_before = sums(&home);
        wish(&home, &server);
        // Wished, and nothing else: everything is used from the files.
        assert_eq!(held(store(&home).1.as_ref(), true), before);
        assert!(server.objects().is_empty());
        let shown = home.mrhsm(["info", "-file"]).done().out;
        assert!(
            shown.contains("file token")
                && shown.contains("to the KMIP servers, with mrhsm enable"),
            "{shown}"
        );
        let shown = home.mrhsm(["info", "-config"]).done().out;
        assert!(
            shown.contains(" Active") && shown.contains("Objects                : 10"),
            "{shown}"
        );

        let moved = home.mrhsm(ENABLE).done();
        assert!(
            moved
                .out
                .contains("Successfully moved Core KEK to the key manager, UUID "),
            "{moved:#?}"
        );
        assert!(
            moved
                .out
                .contains("Moved 10 objects of token 'demo' to the key manager"),
            "{moved:#?}"
        );
        assert_eq!(moved.out.matches("Verified ").count(), 4, "{moved:#?}");
        assert_eq!(sums(&home), sums_before);
        is_moved(&home, &before);
        let shown = home.mrhsm(["info", "-kmip"]).done().out;
        assert!(
            shown.starts_with("Displaying information for KMIP token") && !shown.contains("Move"),
            "{shown}"
        );
        home.refuses(
            ["set", "-storetype", "file"],
            1,
            "keys do not move from there into files",
        );
        home.mrhsm(["rekey", "-keytype", "core"]).done();
    }
}

#[test]
fn a_wish_can_be_taken_back() {
    let server = Server::start(Personality::standard(), Script::none());
    let (home, before) = file_token();
    wish(&home, &server);
    home.mrhsm(["set", "-storetype", "file"]).done();
    home.mrhsm(ENABLE).done();
    assert_eq!(held(store(&home).1.as_ref(), true), before);
    assert!(server.objects().is_empty());
}

#[test]
fn a_token_without_a_cluster_moves_too() {
    let server = Server::start(Personality::standard(), Script::none());
    let home = Home::new();
    home.mrhsm(["init", "-label", "demo", "-storetype", "file"])
        .done();
    applications(store(&home).1.as_ref());
    let before = held(store(&home).1.as_ref(), true);
    wish(&home, &server);
    assert!(
        home.mrhsm(["enable"])
            .done()
            .out
            .contains("Moved 6 objects")
    );
    assert_eq!(held(store(&home).1.as_ref(), false), before);
    // Without any object there is nothing to move.
    let home = Home::new();
    home.mrhsm(["init", "-label", "demo", "-storetype", "file"])
        .done();
    home.mrhsm(["set", "-storetype", "kmip"]).done();
    assert_eq!(store_kind(&home), (StoreKind::Kmip, false));
    home.mrhsm(["set", "-storetype", "file"]).done();
}

fn store_kind(home: &Home) -> (StoreKind, bool) {
    let token = TokenDir::at(home.path("tokens"))
        .load()
        .unwrap()
        .tokens
        .remove(0);
    (token.settings.store, token.moving)
}

#[test]
fn what_a_server_does_not_take_stays_and_is_told() {
    let server = Server::start(Personality::standard(), Script::none());
    let (home, mut before) = file_token();
    wish(&home, &server);
    // Ten objects, of which two are made again because the server does not show their values; the last is the data object.
    let refusal = Fault::Fail(ResultReason::INVALID_FIELD);
    let script = (12..40).fold(Script::none(), |script, n| {
        script.at_operation(OperationCode::REGISTER, n, refusal.clone())
    });
    server.script(script);
    let refused = home
        .mrhsm(ENABLE)
        .failed(5, "does not take 1 of the objects");
    assert!(
        refused
            .err
            .contains("Not taken by the key manager: data object 'data': "),
        "{refused:#?}"
    );
    assert_eq!(held(store(&home).1.as_ref(), true), before);
    assert_eq!(store_kind(&home), (StoreKind::File, true));
    server.script(Script::none());
    let (_, files) = store(&home);
    let data = files
        .locate(&Filter {
            label: Some(b"data".to_vec()),
            ..Filter::default()
        })
        .unwrap();
    files.destroy(&data[0]).unwrap();
    before.remove("data");
    home.mrhsm(ENABLE).done();
    is_moved(&home, &before);
}

#[test]
fn what_a_server_does_not_take_can_be_left() {
    let server = Server::start(Personality::standard(), Script::none());
    let (home, before) = file_token();
    wish(&home, &server);
    let refusal = Fault::Fail(ResultReason::INVALID_FIELD);
    server.script((12..40).fold(Script::none(), |script, n| {
        script.at_operation(OperationCode::REGISTER, n, refusal.clone())
    }));
    let mut leave = ENABLE.to_vec();
    leave.push("-leave");
    let left = home.mrhsm(leave).done();
    assert!(left.out.contains("Moved 9 objects"), "{left:#?}");
    assert!(
        left.err
            .contains("Not taken by the key manager: data object 'data': "),
        "{left:#?}"
    );
    assert!(
        left.err
            .contains("1 objects stay sealed in the token directory"),
        "{left:#?}"
    );
    assert_eq!(store_kind(&home), (StoreKind::Kmip, true));
    let mut others = before.clone();
    others.remove("data");
    assert_eq!(
        held(store(&home).1.as_ref(), false),
        others,
        "the token works with what was moved"
    );
    // Once the server takes it, it follows.
    server.script(Script::none());
    assert!(home.mrhsm(ENABLE).done().out.contains("Moved 1 objects"));
    is_moved(&home, &before);
}

#[test]
fn refusals_and_wrong_servers_leave_the_files_in_use() {
    let server = Server::start(Personality::standard(), Script::none());
    let (home, before) = file_token();
    home.mrhsm(["set", "-storetype", "kmip"]).done();
    home.refuses(
        ENABLE,
        6,
        "Set what is missing: mrhsm set -ip HOST -clientcert FILE -clientkey FILE",
    );
    wish(&home, &server);
    home.write("so.pin", b"wrong", 0o600);
    home.refuses(ENABLE, 3, "the SO PIN is wrong");
    home.write("so.pin", super::support::SO_PIN.as_bytes(), 0o600);
    server.script(Script::none().every(
        OperationCode::REGISTER,
        Fault::Fail(ResultReason::PERMISSION_DENIED),
    ));
    home.mrhsm(ENABLE)
        .failed(5, "was not moved; nothing here is changed");
    server.stop();
    home.mrhsm(ENABLE).failed(4, "127.0.0.1");
    assert_eq!(held(store(&home).1.as_ref(), true), before);
    server.restart();
    server.script(Script::none());
    home.mrhsm(ENABLE).done();
    is_moved(&home, &before);
}

fn live(objects: Vec<Seen>) -> impl Iterator<Item = Seen> {
    objects
        .into_iter()
        .filter(|object| object.state != State::DESTROYED)
}

/// Ends `enable` at its n-th request, for every n, as `end` says; the run after it completes the move without a twin.
fn ended_at_requests(
    which: impl Fn(usize) -> bool + Sync,
    end: impl Fn(&Home, &Server, usize) + Sync,
) {
    let (server, (home, _)) = (
        Server::start(Personality::standard(), Script::none()),
        file_token(),
    );
    wish(&home, &server);
    home.mrhsm(ENABLE).done();
    let all: Vec<usize> = (1..=server.count()).filter(|n| which(*n)).collect();
    assert!(all.len() > 4, "{all:?}");
    for some in all.chunks(8) {
        std::thread::scope(|scope| {
            for &n in some {
                let end = &end;
                scope.spawn(move || {
                    let (server, (home, before)) = (
                        Server::start(Personality::standard(), Script::none()),
                        file_token(),
                    );
                    wish(&home, &server);
                    end(&home, &server, n);
                    // Whatever came of it, every object can be used from where the token says it is.
                    assert_eq!(held(store(&home).1.as_ref(), false), before, "request {n}");
                    server.script(Script::none());
                    home.mrhsm(ENABLE).done();
                    is_moved(&home, &before);
                    let count = |wanted| {
                        live(server.objects())
                            .filter(|o| o.object_type == wanted)
                            .count()
                    };
                    assert_eq!(
                        (
                            count(ObjectType::SYMMETRIC_KEY),
                            count(ObjectType::PRIVATE_KEY)
                        ),
                        (6, 1),
                        "request {n}"
                    );
                });
            }
        });
    }
}

#[test]
fn killed_at_any_request_it_is_completed_by_the_next_run() {
    ended_at_requests(
        |n| n % 7 == 1,
        |home, server, n| {
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
        },
    );
}

#[test]
fn a_server_that_dies_at_any_request_costs_nothing() {
    ended_at_requests(
        |n| n % 13 == 2,
        |home, server, n| {
            server.script(Script::none().at(n, Fault::Kill));
            run(home.command(ENABLE)).failed(4, "127.0.0.1");
            server.restart();
        },
    );
}

#[test]
fn a_damaged_object_is_named_and_the_others_work() {
    let (home, before) = file_token();
    let dir = TokenDir::at(home.path("tokens"));
    let (token, opened) = store(&home);
    let path = dir.path().join(&token.uuid).join("objects");
    opened
        .register(
            &Spec {
                class: Class::Data,
                algorithm: Algorithm::None,
                bits: 0,
                usage: Usage::default(),
                name: None,
                group: None,
                label: b"lost".to_vec(),
                id: Vec::new(),
                sensitive: false,
                extractable: true,
                properties: BTreeMap::new(),
            },
            b"lost",
        )
        .unwrap();
    drop(opened);
    sql::change(&path.with_extension("db"), sql::DAMAGE_NEWEST);
    assert_eq!(held(store(&home).1.as_ref(), true), before);
    let check = home
        .mrhsm(["store", "check"])
        .failed(1, "The database is not whole: 1 problem");
    assert!(check.out.contains("the object of row"), "{}", check.out);
    let dump = home.mrhsm(["dump"]).done().out;
    assert!(dump.contains("FAULT: the object of row"), "{dump}");

    // It is kept when the others move.
    let server = Server::start(Personality::standard(), Script::none());
    wish(&home, &server);
    home.mrhsm(ENABLE).done();
    is_moved(&home, &before);
    assert!(path.with_extension("damaged").exists());
}

#[test]
fn a_backup_of_a_file_token_is_restored() {
    let (home, before) = file_token();
    let (token, _) = store(&home);
    let backup = home.path("backup.db");
    let words = ["store", "backup", backup.to_str().unwrap()];
    home.mrhsm(words).done();
    home.mrhsm(words).failed(1, "backup.db cannot be written");
    let info = home.mrhsm(["store", "info"]).done().out;
    assert!(info.contains("Objects : 10"), "{info}");
    let path = TokenDir::at(home.path("tokens"))
        .path()
        .join(&token.uuid)
        .join("objects.db");
    std::fs::remove_file(&path).unwrap();
    home.mrhsm(["store", "check"])
        .failed(1, "objects.db is missing: restore it from a backup");
    for file in ["objects.db-wal", "objects.lock"] {
        std::fs::remove_file(path.with_file_name(file)).unwrap();
    }
    std::fs::copy(&backup, &path).unwrap();
    let checked = home.mrhsm(["store", "check"]).done().out;
    assert_eq!(checked, "The database is whole.\n");
    assert_eq!(held(store(&home).1.as_ref(), true), before);
    home.mrhsm(["store", "compact"]).done();
    home.mrhsm(["store", "copy"]).failed(2, "-dir");
}

#[test]
fn a_process_that_still_has_the_files_open_is_told() {
    let server = Server::start(Personality::standard(), Script::none());
    let (home, _) = file_token();
    let (token, old) = store(&home);
    wish(&home, &server);
    home.mrhsm(ENABLE).done();
    let error = old.fetch(&Uid(token.keys.core.unwrap().uid)).unwrap_err();
    assert!(
        error.to_string().contains("start the application again"),
        "{error}"
    );
    let dir = TokenDir::at(home.path("tokens"));
    let files = TokenFiles::of(&dir, &token.uuid);
    let key = files
        .unlock(Who::User, files.kept_user_pin().unwrap().unwrap().expose())
        .unwrap();
    assert!(
        open_files(&dir, &dir.load().unwrap().tokens[0], &key)
            .unwrap()
            .is_none()
    );
}
