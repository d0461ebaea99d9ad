//! The embedded server's front under clients that are slow, many or rude, and at its end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mrhsm_pkcs11::kmip::*;
use mrhsm_pkcs11::ttlv::Value;
use mrhsm_pkcs11::version::Version;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::serve::{Serve, active, certs, locate, reason, scratch, value};
use crate::sql;

type Raw = StreamOwned<ClientConnection, TcpStream>;

/// A connection from one of this machine's own addresses.
#[allow(unsafe_code, reason = "std binds no socket that connects")]
fn connect_from(address: [u8; 4], port: u16) -> TcpStream {
    use std::os::fd::FromRawFd;
    let socket_address = |address: [u8; 4], port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address),
        },
        sin_zero: [0; 8],
    };
    let (own, far) = (
        socket_address(address, 0),
        socket_address([127, 0, 0, 1], port),
    );
    let len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: both addresses are of the length that is said, and the descriptor is nobody else's.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(socket >= 0);
        let stream = TcpStream::from_raw_fd(socket);
        assert_eq!(libc::bind(socket, (&raw const own).cast(), len), 0);
        assert_eq!(libc::connect(socket, (&raw const far).cast(), len), 0);
        stream
    }
}

/// A TLS connection on which a test says what it likes; the handshake is done.
fn raw(serve: &Serve, dir: &Path, name: &str) -> Raw {
    raw_from([127, 0, 0, 1], serve, dir, name).unwrap()
}

fn raw_from(address: [u8; 4], serve: &Serve, dir: &Path, name: &str) -> std::io::Result<Raw> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap())
        .unwrap();
    let chain = CertificateDer::pem_file_iter(dir.join(format!("{name}.pem")))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap();
    let config = config
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(session, connect_from(address, serve.port));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn signal(serve: &Serve, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &serve.process.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Whether the other end closes the connection soon.
/// Whether the server closes a connection, at the latest when a handshake has taken 10 s: on a busy machine none has to go before.
fn is_closed(socket: &mut TcpStream) -> bool {
    socket
        .set_read_timeout(Some(Duration::from_secs(12)))
        .unwrap();
    match socket.read(&mut [0; 64]) {
        Ok(n) => n == 0,
        Err(e) => !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// The start of a KMIP message that says it is so long.
fn header(length: u32) -> Vec<u8> {
    [&[0x42, 0x00, 0x78, 0x01][..], &length.to_be_bytes()].concat()
}

#[test]
fn slow_and_rude_clients_harm_no_other() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    certs(dir, &["-name", "rude"]);
    let client = serve.client(dir, "client", Version::V1_4);
    let uid = client.request(&active("k")).unwrap().unique_identifier;
    let key = value(&client, &uid);

    // Handshakes that do not begin, or stop in the middle.
    let opened = Instant::now();
    let mut silent: Vec<TcpStream> = (0..300)
        .map(|_| TcpStream::connect(("127.0.0.1", serve.port)).unwrap())
        .collect();
    silent
        .iter_mut()
        .step_by(2)
        .for_each(|socket| drop(socket.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1])));
    // Requests that stop in the middle, and some that come byte by byte.
    let mut halves: Vec<Raw> = (0..60).map(|_| raw(&serve, dir, "rude")).collect();
    // The last of the silent ones stays, until its handshake has taken 10 s.
    let last = &mut silent[299];
    last.set_nonblocking(true).unwrap();
    assert!(
        opened.elapsed() >= Duration::from_secs(10)
            || last
                .read(&mut [0])
                .is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
    );
    halves
        .iter_mut()
        .for_each(|half| half.write_all(&header(1 << 19)).unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let dribble = {
        let (mut slow, over) = (halves.split_off(50), over.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                slow.iter_mut().for_each(|slow| drop(slow.write_all(&[0])));
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    // Answers that nobody takes: 16 MiB each.
    let mut readers: Vec<Raw> = (0..10).map(|_| raw(&serve, dir, "rude")).collect();
    let text = AttributeValue::Custom(
        "x".into(),
        "long".into(),
        Value::Text("x".repeat(250 << 10)),
    );
    let long = CreateRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        template_attribute: Attributes::new()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(256))
            .with(AttributeValue::CryptographicUsageMask(
                CryptographicUsageMask::ENCRYPT,
            ))
            .with(text)
            .into(),
        ..CreateRequest::default()
    };
    let long = serve
        .client(dir, "rude", Version::V1_4)
        .request(&long)
        .unwrap()
        .unique_identifier;
    let mut request = mrhsm_pkcs11::kmip::message::RequestBatch::new(Version::V1_4, None);
    for _ in 0..64 {
        let get = GetAttributesRequest {
            unique_identifier: Some(long.as_str().into()),
            ..GetAttributesRequest::default()
        };
        request.push(&get);
    }
    let request = request.finish().unwrap();
    readers
        .iter_mut()
        .for_each(|reader| reader.write_all(request.expose()).unwrap());

    // Another client is served as ever, on the connection it has and on new ones.
    let mut times = Vec::new();
    for n in 0..300 {
        let before = Instant::now();
        match n % 10 {
            0 => assert_eq!(
                value(&serve.client(dir, "client", Version::V1_4), &uid),
                key
            ),
            _ => assert_eq!(value(&client, &uid), key),
        }
        times.push(before.elapsed());
    }
    times.sort_unstable();
    let (p50, p99) = (times[150], times[296]);
    assert!(p99 < Duration::from_secs(1), "p50 {p50:?}, p99 {p99:?}");
    // The first of the silent ones had to go.
    assert!(is_closed(&mut silent[0]));
    over.store(true, Ordering::SeqCst);
    dribble.join().unwrap();
}

/// What a client asks for and does not wait for is not done, and what it began is forgotten.
#[test]
fn work_ends_with_its_client() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &["-streams", "2"]);
    let client = serve.client(dir, "client", Version::V1_4);
    let mut base = active("base");
    base.template_attribute
        .attributes
        .0
        .retain(|attribute| !matches!(attribute.value, AttributeValue::CryptographicUsageMask(_)));
    base.template_attribute
        .attributes
        .push(AttributeValue::CryptographicUsageMask(
            CryptographicUsageMask::DERIVE_KEY,
        ));
    let uid = client.request(&base).unwrap().unique_identifier;
    let derive = DeriveKeyRequest {
        object_type: ObjectType::SYMMETRIC_KEY,
        unique_identifiers: vec![uid.as_str().into()],
        derivation_method: DerivationMethod::PBKDF2,
        derivation_parameters: DerivationParameters {
            iteration_count: Some(300_000),
            salt: Some(b"salt".to_vec()),
            ..DerivationParameters::default()
        },
        template_attribute: Attributes::new()
            .with(AttributeValue::CryptographicAlgorithm(
                CryptographicAlgorithm::AES,
            ))
            .with(AttributeValue::CryptographicLength(128))
            .into(),
    };
    // The budget of a request is enough for 26 of them.
    let mut batch = mrhsm_pkcs11::kmip::message::RequestBatch::new(Version::V1_4, None);
    for _ in 0..26 {
        batch.push(&derive);
    }
    let batch = batch.finish().unwrap();
    let mut hasty = raw(&serve, dir, "client");
    hasty.write_all(batch.expose()).unwrap();
    hasty.flush().unwrap();
    drop(hasty);
    let derived = || {
        let audit = std::fs::read_to_string(dir.join("audit.log")).unwrap();
        audit.lines().filter(|line| line.contains("Derive")).count()
    };
    let start = Instant::now();
    while derived() == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "it never ends");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The lines of a request are written when it has ended.
    std::thread::sleep(Duration::from_millis(200));
    assert!(derived() < 13, "{} were done", derived());

    certs(dir, &["-name", "leaves"]);
    let hash = HashRequest {
        cryptographic_parameters: CryptographicParameters {
            hashing_algorithm: Some(HashingAlgorithm::SHA_256),
            ..CryptographicParameters::default()
        },
        data: Some(b"part".to_vec().into()),
        init_indicator: Some(true),
        ..HashRequest::default()
    };
    let leaves = serve.client(dir, "leaves", Version::V1_4);
    for _ in 0..2 {
        leaves.request(&hash).unwrap();
    }
    assert_eq!(
        reason(leaves.request(&hash)),
        ResultReason::PERMISSION_DENIED
    );
    drop(leaves);
    // The server sees the end of a connection a moment later.
    let start = Instant::now();
    while serve
        .client(dir, "leaves", Version::V1_4)
        .request(&hash)
        .is_err()
    {
        assert!(start.elapsed() < Duration::from_secs(60), "still there");
    }
}

/// The database of a server's directory.
fn database(dir: &Path) -> PathBuf {
    let folder = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir())
        .unwrap();
    folder.join("served.db")
}

#[test]
fn a_damaged_object_is_named_and_refused_and_the_others_work() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    let uids: Vec<String> = (0..3)
        .map(|_| client.request(&active("k")).unwrap().unique_identifier)
        .collect();
    let keys: Vec<Vec<u8>> = uids.iter().map(|uid| value(&client, uid)).collect();
    drop(serve);
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mrhsm"));
        let output = command
            .args(["store", "check", "-dir"])
            .arg(dir)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    assert_eq!(check(), (Some(0), "The database is whole.\n".into()));
    sql::change(
        &database(dir),
        &sql::DAMAGE_NEWEST.replace("max(number)", "max(number) - 1"),
    );
    let (code, said) = check();
    assert!(
        code == Some(1) && said.contains("the object of row 2 is damaged"),
        "{said}"
    );

    let serve = Serve::start(dir, &[]);
    let client = serve.client(dir, "client", Version::V1_4);
    assert_eq!(
        [&value(&client, &uids[0]), &value(&client, &uids[2])],
        [&keys[0], &keys[2]]
    );
    let get = GetRequest {
        unique_identifier: Some(uids[1].as_str().into()),
        ..GetRequest::default()
    };
    assert_eq!(reason(client.request(&get)), ResultReason::GENERAL_FAILURE);
    assert_eq!(
        locate(&client, vec![AttributeValue::State(State::ACTIVE)]),
        [uids[2].as_str(), &uids[0]]
    );
    client.request(&active("more")).unwrap();
}

#[test]
fn a_client_cannot_take_all_connections() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &["-connections", "5", "-perclient", "2"]);
    certs(dir, &["-name", "other"]);
    let client = serve.client(dir, "client", Version::V1_4);
    client.request(&active("k")).unwrap();
    // All that the other may have are in the middle of a request: they are not ended for its third one. When the server has seen that
    // they are, only it knows: a busy machine gets more time.
    let refused = [200, 1000, 5000].into_iter().any(|millis| {
        let mut busy: Vec<Raw> = (0..2).map(|_| raw(&serve, dir, "other")).collect();
        busy.iter_mut()
            .for_each(|busy| busy.write_all(&header(64)).unwrap());
        std::thread::sleep(Duration::from_millis(millis));
        is_closed(&mut raw(&serve, dir, "other").sock)
    });
    assert!(refused);
    let audit = std::fs::read_to_string(dir.join("audit.log")).unwrap();
    assert!(
        audit.contains("other: the client has all its connections in use"),
        "{audit}"
    );
    client.request(&active("k2")).unwrap();
    serve
        .client(dir, "client", Version::V1_4)
        .request(&active("k3"))
        .unwrap();
}

/// A request beyond the limit ends its connection, and the client knows it when it has the answer: the next is served on another.
/// Whether a connection is served: a message that is none is answered.
fn is_served(stream: &mut Raw) -> bool {
    let asked = stream.write_all(&header(1 << 30)).and_then(|()| {
        let mut answer = [0; 8];
        stream.read_exact(&mut answer)
    });
    asked.is_ok()
}

#[test]
fn handshakes_that_do_not_end_harm_no_client() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    let attacked = [127, 0, 0, 9];
    // A client behind the attacker's address, before the attack.
    assert!(is_served(
        &mut raw_from(attacked, &serve, dir, "client").unwrap()
    ));
    for address in [attacked, [127, 0, 0, 8]] {
        let over = AtomicBool::new(false);
        let opened = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut half = std::collections::VecDeque::new();
                while !over.load(Ordering::SeqCst) {
                    let mut socket = connect_from(address, serve.port);
                    if half.len() % 2 == 0 {
                        let _ = socket.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1]);
                    }
                    half.push_back(socket);
                    if half.len() > 400 {
                        half.pop_front();
                    }
                    opened.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            while opened.load(Ordering::SeqCst) < 300 {
                std::thread::sleep(Duration::from_millis(10));
            }
            let honest = (1..=7).map(|n| [127, 0, 0, n]).chain([attacked; 4]);
            let served: Vec<bool> = honest
                .map(|from| {
                    raw_from(from, &serve, dir, "client")
                        .is_ok_and(|mut stream| is_served(&mut stream))
                })
                .collect();
            over.store(true, Ordering::SeqCst);
            assert_eq!(served, [true; 11], "the attack came from {address:?}");
        });
    }
}

#[test]
fn an_address_without_clients_has_a_quota_of_handshakes() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &["-peraddress", "4"]);
    let mut silent: Vec<TcpStream> = (0..12)
        .map(|_| connect_from([127, 0, 0, 9], serve.port))
        .collect();
    let mut open = silent.split_off(8);
    assert!(silent.iter_mut().all(is_closed), "all but the last four");
    // The rate: four times four at once, then four a second.
    let mut more: Vec<TcpStream> = (0..40)
        .map(|_| connect_from([127, 0, 0, 9], serve.port))
        .collect();
    assert!(open.iter_mut().all(is_closed));
    let mut seen = false;
    for _ in 0..100 {
        let audit = std::fs::read_to_string(dir.join("audit.log")).unwrap();
        seen = audit.contains("too many handshakes from this address");
        if seen {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(seen, "the audit log says it");
    assert!(is_closed(more.last_mut().unwrap()));
    assert!(is_served(&mut raw(&serve, dir, "client")));
}

#[test]
fn a_connection_ends_with_the_answer_that_ends_it() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &["-request", "16"]);
    let client = serve.client(dir, "client", Version::V1_4);
    let long = AttributeValue::Custom("x".into(), "long".into(), Value::Text("x".repeat(20_000)));
    let long = LocateRequest {
        attributes: Attributes::new().with(long),
        ..LocateRequest::default()
    };
    for round in 0..50 {
        assert!(client.request(&long).is_err());
        client.request(&active(&format!("k{round}"))).unwrap();
    }
}

#[test]
fn refused_connections_cannot_fill_the_disk() {
    let folder = scratch();
    let dir = folder.path();
    let mut serve = Serve::start(dir, &[]);
    for _ in 0..100 {
        let mut rude = TcpStream::connect(("127.0.0.1", serve.port)).unwrap();
        rude.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // An alert, then the end.
        let _ = rude.read_to_end(&mut Vec::new());
    }
    signal(&serve, "TERM");
    assert!(serve.process.wait().unwrap().success());
    let audit = std::fs::read_to_string(dir.join("audit.log")).unwrap();
    let lines: Vec<serde_json::Value> = audit
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line.get("event").is_none())
        .collect();
    let [first, again] = lines.as_slice() else {
        panic!("{audit}")
    };
    assert_eq!(
        (&first["result"], &first["repeated"]),
        (&again["result"], &serde_json::Value::Null)
    );
    assert_eq!(again["repeated"], 99);
}

#[test]
fn it_stops_in_good_order_under_load() {
    let folder = scratch();
    let dir = folder.path();
    let mut serve = Serve::start(dir, &[]);
    let (clients, started) = (
        (0..4).map(|_| serve.client(dir, "client", Version::V1_4)),
        AtomicBool::new(false),
    );
    let clients: Vec<_> = clients.collect();
    let (made, status, took) = std::thread::scope(|scope| {
        let started = &started;
        let threads: Vec<_> = clients
            .iter()
            .map(|client| {
                scope.spawn(move || {
                    let mut made = Vec::new();
                    while let Ok(answer) = client.request(&active("k")) {
                        made.push(answer.unique_identifier);
                        started.fetch_or(made.len() > 20, Ordering::SeqCst);
                    }
                    made
                })
            })
            .collect();
        while !started.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        signal(&serve, "TERM");
        let before = Instant::now();
        let status = serve.process.wait().unwrap();
        let took = before.elapsed();
        let made: Vec<String> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        (made, status, took)
    });
    assert!(
        status.success() && took < Duration::from_secs(5),
        "{status}, {took:?}"
    );
    // Whatever was answered is there.
    let serve = Serve::start(dir, &[]);
    let there = locate(&serve.client(dir, "client", Version::V1_4), vec![]);
    assert!(
        made.len() > 20 && made.iter().all(|uid| there.contains(uid)),
        "{} made, {} there",
        made.len(),
        there.len()
    );
}

#[test]
fn renewed_certificates_are_used_without_a_restart() {
    let folder = scratch();
    let dir = folder.path();
    let serve = Serve::start(dir, &[]);
    let seen = || raw(&serve, dir, "client").conn.peer_certificates().unwrap()[0].to_vec();
    let (before, client) = (seen(), serve.client(dir, "client", Version::V1_4));
    let uid = client.request(&active("k")).unwrap().unique_identifier;
    certs(dir, &["-name", "server", "-san", "localhost,127.0.0.1"]);
    assert_eq!(seen(), before, "nothing changes of itself");
    signal(&serve, "HUP");
    let renewed = CertificateDer::from_pem_file(dir.join("server.pem"))
        .unwrap()
        .to_vec();
    let start = Instant::now();
    while seen() != renewed {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the old certificate is still shown"
        );
    }
    value(&client, &uid);
    // What cannot be used changes nothing.
    std::fs::write(dir.join("server.key"), "damaged").unwrap();
    signal(&serve, "HUP");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(seen(), renewed);
}
