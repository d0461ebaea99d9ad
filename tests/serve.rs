//! The embedded server as a product: what its tests as other servers' double do not ask.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mrhsm_pkcs11::error::{Kind, Result};
use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::net::{Client, Config, Host, Identity, Tls, Trust};
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::ttlv::{DateTime, Value};
use mrhsm_pkcs11::version::Version;
use tempfile::TempDir;

/// `mrhsm serve` on a free port; killed when dropped.
pub struct Serve {
    pub process: Child,
    pub port: u16,
    /// The words after `mrhsm configure` that it says are to be typed, when it was made now.
    command: Option<String>,
}

impl Serve {
    pub fn start(dir: &Path, options: &[&str]) -> Serve {
        Serve::start_after("", dir, options)
    }

    /// Starts it with just these options, in whatever database they name.
    #[allow(dead_code, reason = "for the tests on PostgreSQL")]
    pub fn start_on(dir: &Path, options: &[&str]) -> Serve {
        Serve::run("", dir, &[], options)
    }

    /// Options for the database of a directory, if the servers of these tests use PostgreSQL: `scripts/test postgres`. Each
    /// directory has its own database.
    pub fn database(dir: &Path) -> Vec<String> {
        let Ok(url) = std::env::var("MRHSM_TEST_POSTGRES") else {
            return Vec::new();
        };
        let name = dir.file_name().unwrap().as_encoded_bytes();
        let name = format!("t{}", data_encoding::HEXLOWER.encode(name));
        // Of several that create it at once, one does.
        if let Err(e) = try_sql("postgres", &format!("CREATE DATABASE {name}")) {
            assert!(e.contains("already exists"), "{e}");
        }
        let ca = std::env::var("MRHSM_TEST_POSTGRES_CA").expect("scripts/test postgres sets it");
        [
            "-storeca".into(),
            ca,
            "-store".into(),
            url.replace("DATABASE", &name),
        ]
        .into()
    }

    /// Starts it in a shell that does `before`. What it has to say is in the file `stderr` of its directory.
    pub fn start_after(before: &str, dir: &Path, options: &[&str]) -> Serve {
        Serve::run(before, dir, &Serve::database(dir), options)
    }

    fn run(before: &str, dir: &Path, database: &[String], options: &[&str]) -> Serve {
        let mut process = Command::new("sh")
            .args([
                "-c",
                &format!("{before} exec \"$0\" \"$@\""),
                env!("CARGO_BIN_EXE_mrhsm"),
            ])
            .args(["serve", "-listen", "127.0.0.1:0", "-dir"])
            .arg(dir)
            .args(database)
            .args(options)
            .env_remove("MRHSM_PIN_FILE")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(dir.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut command = None;
        let port = lines.map_while(std::result::Result::ok).find_map(|line| {
            command = line
                .trim()
                .strip_prefix("mrhsm configure ")
                .map(str::to_owned)
                .or(command.take());
            let address = line.strip_prefix("Listening on ")?.to_owned();
            address.rsplit(':').next()?.parse().ok()
        });
        Serve {
            process,
            port: port.expect("it listens"),
            command,
        }
    }

    pub fn client(&self, dir: &Path, name: &str, version: Version) -> Client {
        let read = |name: String| std::fs::read(dir.join(name)).unwrap();
        let identity = Identity::from_pem(
            &read(format!("{name}.pem")),
            &read(format!("{name}.key")),
            None,
        )
        .unwrap();
        let tls = Tls::new(Some(&identity), &Trust::Pem(read("ca.pem".into())), None).unwrap();
        let host = Host {
            name: "localhost".into(),
            port: self.port,
        };
        Client::new(Config {
            version: Some(version),
            ..Config::new(vec![host], tls)
        })
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What `psql` prints for statements in a database.
pub fn sql(database: &str, statements: &str) -> String {
    try_sql(database, statements).unwrap()
}

fn try_sql(database: &str, statements: &str) -> std::result::Result<String, String> {
    let psql = std::env::var("MRHSM_TEST_PSQL").expect("scripts/test postgres sets it");
    let output = Command::new(psql)
        .args(["-v", "ON_ERROR_STOP=1", "-qAt", "-d", database])
        .args(["-c", statements])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

pub fn scratch() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    folder
}

pub fn certs(dir: &Path, words: &[&str]) {
    let made = Command::new(env!("CARGO_BIN_EXE_mrhsm"))
        .arg("certs")
        .arg("-dir")
        .arg(dir)
        .args(words)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

pub fn id(uid: &str) -> Option<UniqueIdentifier> {
    Some(uid.into())
}

#[test]
fn the_command_that_it_prints_is_to_be_typed_as_it_is() {
    let (folder, home) = (scratch(), scratch());
    let serve = Serve::start(folder.path(), &[]);
    std::fs::write(home.path().join("so.pin"), "so-pin-1234").unwrap();
    let typed = Command::new(env!("CARGO_BIN_EXE_mrhsm"))
        .arg("configure")
        .args(serve.command.as_ref().unwrap().split(' '))
        .current_dir(home.path())
        .env("MRHSM_TOKEN_DIR", home.path().join("tokens"))
        .env_remove("MAPR_HOME")
        .output()
        .unwrap();
    assert!(
        typed.status.success(),
        "{}",
        String::from_utf8_lossy(&typed.stderr)
    );
}

#[test]
fn processes_that_start_at_once_share_one_authority() {
    let folder = scratch();
    let dir = folder.path();
    let serves: Vec<Serve> = std::thread::scope(|scope| {
        let serves: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| Serve::start(dir, &[])))
            .collect();
        for n in 0..5 {
            scope.spawn(move || certs(dir, &["-name", &format!("node{n}")]));
        }
        serves
            .into_iter()
            .map(|serve| serve.join().unwrap())
            .collect()
    });
    for name in ["node0", "node1", "node2", "node3", "node4"] {
        for serve in &serves {
            locate(&serve.client(dir, name, Version::V1_4), Vec::new());
        }
    }
    // A crash of the first start between key and certificate, as the file system shows it.
    std::fs::rename(dir.join("ca.pem"), dir.join(".cert-ca.pem")).unwrap();
    certs(dir, &["-name", "node5"]);
    locate(&serves[0].client(dir, "node5", Version::V1_4), Vec::new());
}

const ALL: CryptographicUsageMask = CryptographicUsageMask(0x3FF);

fn aes(more: impl IntoIterator<Item = AttributeValue>) -> CreateRequest {
    let usual = [
        AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::AES),
        AttributeValue::CryptographicLength(256),
        AttributeValue::CryptographicUsageMask(ALL),
    ];
    let attributes: Attributes = usual.into_iter().chain(more).collect();
    CreateRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        template_attribute: attributes.into(),
        ..CreateRequest::default()
    }
}

pub fn active(name: &str) -> CreateRequest {
    aes([
        AttributeValue::Name(name.into()),
        AttributeValue::ActivationDate(DateTime(1)),
    ])
}

pub fn value(client: &Client, uid: &str) -> Vec<u8> {
    let got = client
        .request(&GetRequest {
            unique_identifier: id(uid),
            ..GetRequest::default()
        })
        .unwrap();
    match &got.object.key_block().unwrap().key_value {
        Some(KeyValue::Plain(PlainKeyValue {
            key_material: KeyMaterial::Bytes(bytes),
            ..
        })) => bytes.expose().to_vec(),
        other => panic!("{other:?}"),
    }
}

pub fn reason<T>(answer: Result<T>) -> ResultReason {
    match answer.err().expect("a refusal").kind() {
        Kind::Server(reason) => ResultReason(reason),
        other => panic!("{other:?}"),
    }
}

fn attributes(client: &Client, uid: &str) -> Attributes {
    let request = GetAttributesRequest {
        unique_identifier: id(uid),
        ..GetAttributesRequest::default()
    };
    client.request(&request).unwrap().attributes
}

pub fn locate(client: &Client, filters: Vec<AttributeValue>) -> Vec<String> {
    let attributes = filters.into_iter().collect();
    client
        .request(&LocateRequest {
            attributes,
            ..LocateRequest::default()
        })
        .unwrap()
        .unique_identifiers
}

#[test]
fn everything_survives_a_kill() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    let custom = AttributeValue::Custom("x".into(), "colour".into(), Value::Text("blue".into()));
    let structure = AttributeValue::Link(Link {
        link_type: LinkType::PARENT_LINK,
        linked_object_identifier: "other".into(),
    });
    let uid = client
        .request(&aes([
            AttributeValue::Name("one".into()),
            AttributeValue::Name("two".into()),
            custom.clone(),
            structure.clone(),
        ]))
        .unwrap()
        .unique_identifier;
    let gone = client.request(&aes([])).unwrap().unique_identifier;
    client
        .request(&DestroyRequest {
            unique_identifier: id(&gone),
        })
        .unwrap();
    let (before, key) = (attributes(&client, &uid), value(&client, &uid));
    drop(serve); // SIGKILL

    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    assert_eq!(attributes(&client, &uid), before);
    assert_eq!(value(&client, &uid), key);
    for filter in [custom, structure, AttributeValue::Name("two".into())] {
        assert_eq!(locate(&client, vec![filter]), [uid.as_str()]);
    }
    assert_eq!(attributes(&client, &gone).state(), Some(&State::DESTROYED));
    assert_eq!(
        locate(&client, vec![]),
        [uid.as_str()],
        "what is destroyed is not located"
    );
    // The next attribute of a name gets a new index, also after one was deleted.
    let delete = DeleteAttributeRequest {
        unique_identifier: id(&uid),
        attribute_name: Some(AttributeName::from_text("Name")),
        attribute_index: Some(0),
        ..DeleteAttributeRequest::default()
    };
    client.request(&delete).unwrap();
    let add = AddAttributeRequest {
        unique_identifier: id(&uid),
        attribute: AttributeValue::Name("three".into()).into(),
    };
    assert_eq!(
        client.request(&add).unwrap().attribute.unwrap().index,
        Some(2)
    );
    // Nothing readable is on disk.
    let stored = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir())
        .unwrap();
    let bytes = match Serve::database(dir).as_slice() {
        [] => ["served.db", "served.db-wal"]
            .map(|name| std::fs::read(stored.join(name)).unwrap())
            .concat(),
        [.., url] => {
            let name = url.rsplit('/').next().unwrap();
            let rows = "SELECT string_agg(encode(sealed, 'escape'), '') FROM mrhsm_objects";
            sql(name, rows).into_bytes()
        }
    };
    assert!(bytes.len() > 500);
    assert!(
        !bytes
            .windows(4)
            .any(|window| window == b"blue" || window == &key[..4])
    );
}

#[test]
fn objects_are_located_by_a_span_of_their_original_creation() {
    let folder = scratch();
    let serve = Serve::start(folder.path(), &[]);
    let client = serve.client(folder.path(), "client", Version::V1_4);
    let uid = client.request(&active("k")).unwrap().unique_identifier;
    let created = |dates: [i64; 2]| {
        let dates = dates.map(|date| AttributeValue::OriginalCreationDate(DateTime(date)));
        locate(&client, dates.into())
    };
    assert_eq!(created([0, 4_000_000_000]), [uid]);
    assert_eq!(created([0, 1_000_000_000]), Vec::<String>::new());
}

#[test]
fn of_keys_that_replace_one_at_once_one_takes_its_name() {
    let folder = scratch();
    let serve = Serve::start(folder.path(), &[]);
    let client = serve.client(folder.path(), "client", Version::V1_4);
    for round in 0..10 {
        let name = format!("k{round}");
        let uid = client.request(&active(&name)).unwrap().unique_identifier;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let client = serve.client(folder.path(), "client", Version::V1_4);
                let uid = &uid;
                scope.spawn(move || {
                    let _ = client.request(&ReKeyRequest {
                        unique_identifier: id(uid),
                        ..ReKeyRequest::default()
                    });
                });
            }
        });
        let named = locate(&client, vec![AttributeValue::Name(name.as_str().into())]);
        assert!(
            named.len() == 1 && named[0] != uid,
            "round {round}: {named:?}"
        );
    }
}

#[test]
fn the_service_manager_is_notified() {
    let (folder, home) = (scratch(), scratch());
    let socket = home.path().join("notify");
    let receiver = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    let message = || {
        let mut message = [0; 64];
        let length = receiver.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let notify = format!("NOTIFY_SOCKET={}", socket.display());
    let serve = Serve::start_after(&format!("export {notify};"), folder.path(), &[]);
    assert_eq!(message(), "READY=1");
    let _client = serve.client(folder.path(), "client", Version::V1_4);
    let stopped = Command::new("kill")
        .arg(serve.process.id().to_string())
        .status();
    assert!(stopped.unwrap().success());
    assert_eq!(message(), "STOPPING=1");
}

#[test]
fn two_servers_share_a_directory() {
    let folder = scratch();
    let dir = folder.path();
    let first = Serve::start(dir, &[]);
    let second = Serve::start(dir, &[]);
    let (a, b) = (
        first.client(dir, "client", Version::V1_4),
        second.client(dir, "client", Version::V2_1),
    );
    let uid = a.request(&active("shared")).unwrap().unique_identifier;
    assert_eq!(
        locate(&b, vec![AttributeValue::Name("shared".into())]),
        [uid.as_str()]
    );
    std::thread::scope(|scope| {
        for client in [&a, &b] {
            scope.spawn(move || (0..20).for_each(|_| drop(client.request(&aes([])).unwrap())));
        }
    });
    assert_eq!(locate(&a, vec![]).len(), 41);
    assert_eq!(locate(&b, vec![]).len(), 41);
}

#[test]
fn objects_belong_to_clients_and_their_clusters() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    for (name, cluster) in [("n1", "red"), ("n2", "red"), ("n3", "green")] {
        certs(dir, &["-name", name, "-cluster", cluster]);
    }
    let [n1, n2, n3] = ["n1", "n2", "n3"].map(|name| serve.client(dir, name, Version::V1_4));
    let uid = n1.request(&active("k")).unwrap().unique_identifier;
    assert_eq!(value(&n2, &uid), value(&n1, &uid));
    let get = GetRequest {
        unique_identifier: id(&uid),
        ..GetRequest::default()
    };
    assert_eq!(reason(n3.request(&get)), ResultReason::ITEM_NOT_FOUND);
    assert_eq!(
        reason(n3.request(&DestroyRequest {
            unique_identifier: id(&uid)
        })),
        ResultReason::ITEM_NOT_FOUND
    );
    assert!(locate(&n3, vec![]).is_empty());
    let export = n1
        .request(&ExportRequest {
            unique_identifier: id(&uid),
            ..ExportRequest::default()
        })
        .unwrap();
    let import = |uid: &str, replace_existing, object| ImportRequest {
        unique_identifier: uid.into(),
        object_type: None,
        replace_existing,
        key_wrap_type: None,
        attributes: Attributes::new().with(AttributeValue::CryptographicUsageMask(ALL)),
        object,
    };
    // Whether another client has an identifier makes no difference.
    n3.request(&import(&uid, None, export.object)).unwrap();
    assert_eq!(locate(&n3, vec![]), [uid.as_str()]);
    n3.request(&DestroyRequest {
        unique_identifier: id(&uid),
    })
    .unwrap();
    let again = || {
        n1.request(&ExportRequest {
            unique_identifier: id(&uid),
            ..ExportRequest::default()
        })
        .unwrap()
    };
    assert_eq!(
        reason(n2.request(&import(&uid, None, again().object))),
        ResultReason::OBJECT_ALREADY_EXISTS
    );
    n3.request(&import("my own name", None, again().object))
        .unwrap();
    assert_eq!(value(&n3, "my own name"), value(&n1, &uid));
    // What the audit log says, and what it does not.
    let audit = std::fs::read_to_string(dir.join("audit.log")).unwrap();
    let lines: Vec<serde_json::Value> = audit
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said = |client: &str, operation: &str, result: &str| {
        lines.iter().any(|line| {
            line["client"] == client && line["operation"] == operation && line["result"] == result
        })
    };
    assert!(
        lines
            .iter()
            .filter(|line| !line["client"].is_null())
            .all(|line| line["identity"] == "cn"),
        "{audit}"
    );
    assert!(
        said("n1", "Create", "Success") && said("n3", "Get", "Item Not Found"),
        "{audit}"
    );
}

#[test]
fn dates_are_the_state() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    let now = jiff::Timestamp::now().as_second();
    let dated = |dates: &[fn(DateTime) -> AttributeValue], at: &[i64]| {
        client
            .request(&aes(dates
                .iter()
                .zip(at)
                .map(|(date, at)| date(DateTime(*at)))))
            .unwrap()
            .unique_identifier
    };
    let gcm = CryptographicParameters {
        block_cipher_mode: Some(BlockCipherMode::GCM),
        ..CryptographicParameters::default()
    };
    let encrypt = |uid: &str| {
        let cryptographic_parameters = Some(gcm.clone());
        let data = Some(vec![1; 16].into());
        client.request(&EncryptRequest {
            unique_identifier: id(uid),
            cryptographic_parameters,
            data,
            ..EncryptRequest::default()
        })
    };
    use AttributeValue::{ActivationDate, DeactivationDate, ProtectStopDate};
    for (uid, state, encrypts) in [
        (dated(&[ActivationDate], &[now - 10]), State::ACTIVE, true),
        (
            dated(&[ActivationDate], &[now + 1000]),
            State::PRE_ACTIVE,
            false,
        ),
        (
            dated(&[ActivationDate, ProtectStopDate], &[now - 10, now - 5]),
            State::ACTIVE,
            false,
        ),
        (
            dated(&[ActivationDate, DeactivationDate], &[now - 10, now - 5]),
            State::DEACTIVATED,
            false,
        ),
    ] {
        assert_eq!(attributes(&client, &uid).state(), Some(&state));
        assert_eq!(encrypt(&uid).is_ok(), encrypts, "{state}");
        assert!(locate(&client, vec![AttributeValue::State(state)]).contains(&uid));
    }
    // A key that expires while it is used still decrypts what it encrypted.
    let uid = dated(&[ActivationDate], &[now - 10]);
    let made = encrypt(&uid).unwrap();
    let expire = ModifyAttributeRequest {
        unique_identifier: id(&uid),
        current_attribute: None,
        attribute: DeactivationDate(DateTime(now)).into(),
    };
    assert_eq!(
        reason(client.request(&expire)),
        ResultReason::ITEM_NOT_FOUND
    );
    let attribute = DeactivationDate(DateTime(now)).into();
    client
        .request(&AddAttributeRequest {
            unique_identifier: id(&uid),
            attribute,
        })
        .unwrap();
    assert_eq!(reason(encrypt(&uid)), ResultReason::PERMISSION_DENIED);
    let decrypt = DecryptRequest {
        unique_identifier: id(&uid),
        cryptographic_parameters: Some(gcm.clone()),
        data: made.data,
        iv_counter_nonce: made.iv_counter_nonce,
        authentication_tag: made.authentication_tag,
        ..DecryptRequest::default()
    };
    assert_eq!(
        client.request(&decrypt).unwrap().data.unwrap().expose(),
        [1; 16]
    );
    let between = vec![
        AttributeValue::DeactivationDate(DateTime(now - 1)),
        AttributeValue::DeactivationDate(DateTime(now + 1)),
    ];
    assert_eq!(locate(&client, between), [uid]);
}

#[test]
fn operations_go_on_over_several_requests() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    let uid = client.request(&active("k")).unwrap().unique_identifier;
    let key = value(&client, &uid);
    let parts: [&[u8]; 3] = [&[1; 20], &[2; 7], &[3; 40]];
    let whole = parts.concat();
    let gcm = CryptographicParameters {
        block_cipher_mode: Some(BlockCipherMode::GCM),
        ..CryptographicParameters::default()
    };
    let (mut text, mut correlation, mut tag) = (Vec::new(), None, None);
    for (i, part) in parts.iter().enumerate() {
        let answer = client
            .request(&EncryptRequest {
                unique_identifier: id(&uid),
                cryptographic_parameters: (i == 0).then(|| gcm.clone()),
                data: Some(part.to_vec().into()),
                iv_counter_nonce: (i == 0).then(|| vec![9; 12]),
                init_indicator: (i == 0).then_some(true),
                final_indicator: (i == 2).then_some(true),
                correlation_value: correlation.take(),
                ..EncryptRequest::default()
            })
            .unwrap();
        text.extend(answer.data.unwrap());
        (correlation, tag) = (answer.correlation_value, answer.authentication_tag);
    }
    use mrhsm_pkcs11::crypto::cipher::{Cipher, Direction, Key, Mode};
    let own = Cipher::new(
        Direction::Encrypt,
        Key::Aes(&key),
        Mode::Gcm {
            iv: &[9; 12],
            aad: b"",
            tag_len: 16,
        },
    )
    .unwrap();
    text.extend(tag.expect("a tag at the end"));
    assert_eq!(text, own.run(&whole).unwrap());
    let (mut correlation, mut hash) = (None, None);
    for (i, part) in parts.iter().enumerate() {
        let sha256 = Some(HashingAlgorithm::SHA_256);
        let answer = client
            .request(&HashRequest {
                cryptographic_parameters: CryptographicParameters {
                    hashing_algorithm: sha256,
                    ..Default::default()
                },
                data: Some(part.to_vec().into()),
                init_indicator: (i == 0).then_some(true),
                final_indicator: (i == 2).then_some(true),
                correlation_value: correlation.take(),
            })
            .unwrap();
        (correlation, hash) = (answer.correlation_value, answer.data);
    }
    assert_eq!(
        hash.unwrap(),
        mrhsm_pkcs11::crypto::hash::digest(mrhsm_pkcs11::crypto::Hash::Sha256, &whole).unwrap()
    );
    let lost = MacRequest {
        data: Some(vec![1].into()),
        correlation_value: Some(vec![7]),
        ..MacRequest::default()
    };
    assert_eq!(reason(client.request(&lost)), ResultReason::INVALID_FIELD);
}

#[test]
fn wrapped_keys_go_out_and_come_in() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    for version in [Version::V1_0, Version::V1_4, Version::V2_1] {
        let client = serve.client(dir, "client", version);
        let kek = client.request(&active("kek")).unwrap().unique_identifier;
        let key = client.request(&active("key")).unwrap().unique_identifier;
        for mode in [
            BlockCipherMode::NIST_KEY_WRAP,
            BlockCipherMode::AES_KEY_WRAP_PADDING,
        ] {
            for encoding_option in [
                None,
                Some(EncodingOption::NO_ENCODING),
                Some(EncodingOption::TTLV_ENCODING),
            ] {
                if version == Version::V1_0 && encoding_option.is_some() {
                    continue;
                }
                let key_wrapping_specification = Some(KeyWrappingSpecification {
                    wrapping_method: WrappingMethod::ENCRYPT,
                    encryption_key_information: Some(KeyInformation {
                        unique_identifier: kek.as_str().into(),
                        cryptographic_parameters: Some(CryptographicParameters {
                            block_cipher_mode: Some(mode),
                            ..CryptographicParameters::default()
                        }),
                    }),
                    encoding_option,
                    ..KeyWrappingSpecification::default()
                });
                let get = GetRequest {
                    unique_identifier: id(&key),
                    key_wrapping_specification,
                    ..GetRequest::default()
                };
                let got = client.request(&get).unwrap();
                let usage = Attributes::new().with(AttributeValue::CryptographicUsageMask(ALL));
                let register = RegisterRequest {
                    object_type: ObjectType::SYMMETRIC_KEY,
                    template_attribute: usage.into(),
                    object: Some(got.object),
                    protection_storage_masks: None,
                };
                let again = client.request(&register).unwrap().unique_identifier;
                assert_eq!(
                    value(&client, &again),
                    value(&client, &key),
                    "{version} {mode} {encoding_option:?}"
                );
            }
        }
    }
}

#[test]
fn keys_are_derived_and_pairs_replaced() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V2_1);
    let base = client.request(&active("base")).unwrap().unique_identifier;
    let secret = value(&client, &base);
    let derive = |derivation_method, bits| {
        let attributes = Attributes::new()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(bits))
            .with(AttributeValue::CryptographicUsageMask(ALL));
        client.request(&DeriveKeyRequest {
            object_type: ObjectType::SYMMETRIC_KEY,
            unique_identifiers: vec![base.as_str().into()],
            derivation_method,
            derivation_parameters: DerivationParameters {
                derivation_data: vec![Secret::new(b"info".to_vec())],
                salt: Some(b"salt".to_vec()),
                iteration_count: Some(10),
                ..DerivationParameters::default()
            },
            template_attribute: attributes.into(),
        })
    };
    use mrhsm_pkcs11::crypto::{Hash, kdf, mac};
    let derived = |method| value(&client, &derive(method, 256).unwrap().unique_identifier);
    assert_eq!(
        derived(DerivationMethod::HMAC),
        mac::hmac(Hash::Sha256, &secret, b"info").unwrap()
    );
    assert_eq!(
        derived(DerivationMethod::HKDF),
        kdf::hkdf(Hash::Sha256, b"salt", &secret, b"info", 32)
            .unwrap()
            .expose()
    );
    assert_eq!(
        derived(DerivationMethod::PBKDF2),
        kdf::pbkdf2(Hash::Sha256, &secret, b"salt", 10, 32)
            .unwrap()
            .expose()
    );
    assert_eq!(
        reason(derive(DerivationMethod::HMAC, 512)),
        ResultReason::INVALID_FIELD
    );
    assert_eq!(
        reason(derive(DerivationMethod::ASYMMETRIC_KEY, 256)),
        ResultReason::FEATURE_NOT_SUPPORTED
    );

    let common = Attributes::new()
        .with(AttributeValue::CryptographicAlgorithm(
            CryptographicAlgorithm::EC,
        ))
        .with(AttributeValue::CryptographicLength(256))
        .with(AttributeValue::Name("pair".into()));
    let usage = |mask| {
        Some(
            Attributes::new()
                .with(AttributeValue::CryptographicUsageMask(mask))
                .into(),
        )
    };
    let pair = CreateKeyPairRequest {
        common: Some(common.into()),
        private_key: usage(CryptographicUsageMask::SIGN),
        public_key: usage(CryptographicUsageMask::VERIFY),
        ..CreateKeyPairRequest::default()
    };
    let old = client.request(&pair).unwrap().private_key_unique_identifier;
    let new = client
        .request(&ReKeyKeyPairRequest {
            private_key_unique_identifier: id(&old),
            ..ReKeyKeyPairRequest::default()
        })
        .unwrap();
    let private = attributes(&client, &new.private_key_unique_identifier);
    assert_eq!(
        private.linked(LinkType::PUBLIC_KEY_LINK),
        Some(new.public_key_unique_identifier.as_str())
    );
    assert_eq!(
        private.linked(LinkType::REPLACED_OBJECT_LINK),
        Some(old.as_str())
    );
    assert_eq!(private.names().collect::<Vec<_>>(), ["pair"]);
    assert!(attributes(&client, &old).names().next().is_none());
}

#[test]
fn a_pin_that_is_kept_nowhere_is_needed_at_each_start() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &["-pin", "pass:open sesame"]);
    let uid = serve
        .client(dir, "client", Version::V1_4)
        .request(&active("k"))
        .unwrap()
        .unique_identifier;
    drop(serve);
    for wrong in [&[][..], &["-pin", "pass:another"]] {
        let refused = Command::new(env!("CARGO_BIN_EXE_mrhsm"))
            .args(["serve", "-listen", "127.0.0.1:0", "-dir"])
            .arg(dir)
            .args(wrong)
            .env_remove("MRHSM_PIN_FILE")
            .output()
            .unwrap();
        assert_eq!(
            refused.status.code(),
            Some(3),
            "{}",
            String::from_utf8_lossy(&refused.stderr)
        );
    }
    let serve = Serve::start(dir, &["-pin", "pass:open sesame"]);
    value(&serve.client(dir, "client", Version::V1_4), &uid);
}

#[test]
fn a_renewed_certificate_keeps_its_key() {
    let folder = scratch();
    let dir = folder.path();
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    certs(
        dir,
        &["-name", "node", "-cluster", "a,b", "-p12", "pass:secret"],
    );
    let (first, key) = (read("node.pem"), read("node.key"));
    let identity =
        Identity::from_pkcs12(&read("node.p12"), &Secret::new(b"secret".to_vec())).unwrap();
    assert!(
        identity
            .chain_pem()
            .starts_with(std::str::from_utf8(&first).unwrap().trim_end())
    );
    certs(dir, &["-name", "node", "-days", "10"]);
    assert_ne!(read("node.pem"), first);
    assert_eq!(read("node.key"), key);
    for bad in ["../node", "ca", "", ".hidden", "a/b"] {
        let made = Command::new(env!("CARGO_BIN_EXE_mrhsm"))
            .args(["certs", "-name", bad, "-dir"])
            .arg(dir)
            .output()
            .unwrap();
        assert!(!made.status.success(), "{bad}");
    }
}
