//! The network at its worst, against a TLS server in this process.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::config::to_hex;
use crate::crypto::crl::Crls;
use crate::crypto::{Hash, hash};

use super::pool::{Pool, Replay, Transport};
use super::testing::{Authority, Pair, Server, answer, frame, read_frame, reset};
use super::{Config, Host, Identity, Tls, Trust};
use crate::error::{Error, Kind};

fn exchange(pool: &Pool, replay: Replay) -> Result<usize, Error> {
    pool.exchange(
        &frame(64),
        replay,
        Instant::now() + Duration::from_millis(800),
    )
    .map(|answer| answer.len())
}

/// The error of one exchange with a server on `port`, which must end by the deadline.
fn failure(config: &Config) -> Error {
    let start = Instant::now();
    let error = exchange(&Pool::new(config), Replay::OnlyIfUnsent).expect_err("must fail");
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "took {:?}: {error}",
        start.elapsed()
    );
    error
}

#[track_caller]
fn says(error: &Error, kind: Kind, words: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(
        error.to_string().contains(words),
        "'{error}' does not say '{words}'"
    );
}

#[test]
fn one_connection_serves_many_requests() {
    let authority = Authority::new("ca");
    let server = Server::echo(&authority);
    let pool = Pool::new(&authority.config(&[server.port]));
    for len in [8, 64, 16_384, 3_000_000] {
        let answer = pool
            .exchange(
                &frame(len),
                Replay::OnlyIfUnsent,
                Instant::now() + Duration::from_secs(5),
            )
            .unwrap();
        assert_eq!(answer.len(), len as usize + 8);
        assert!(answer.expose()[8..].iter().all(|&b| b == 0x5a));
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_server_certificate_we_do_not_trust() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let server = Server::echo(&other);
    says(
        &failure(&authority.config(&[server.port])),
        Kind::Tls,
        "is not signed by a CA that we trust",
    );
}

#[test]
fn an_expired_server_certificate() {
    let authority = Authority::new("ca");
    let pair = authority.sign(&["127.0.0.1"], ServerAuth, 2020);
    let server = Server::tls(
        authority.server_config(&pair, &authority, rustls::ALL_VERSIONS),
        |_, mut s| drop(read_frame(&mut s)),
    );
    says(
        &failure(&authority.config(&[server.port])),
        Kind::Tls,
        "expired on 2020-01-01",
    );
}

#[test]
fn a_wrong_name_and_the_override() {
    let authority = Authority::new("ca");
    let pair = authority.server(&["kmip.example.com", "10.1.2.3"]);
    let server = Server::tls(
        authority.server_config(&pair, &authority, rustls::ALL_VERSIONS),
        |_, mut session| {
            while let Some(frame) = read_frame(&mut session) {
                answer(&mut session, &frame);
            }
        },
    );
    let mut config = authority.config(&[server.port]);
    let error = failure(&config);
    says(
        &error,
        Kind::Tls,
        "is for kmip.example.com, 10.1.2.3, not for 127.0.0.1",
    );
    config.tls = Tls::new(
        Some(&authority.client()),
        &authority.trust(),
        Some("kmip.example.com"),
    )
    .unwrap();
    exchange(&Pool::new(&config), Replay::OnlyIfUnsent).unwrap();
}

/// What a server with the certificate of `pair` is to a client that trusts `trust`.
fn met_by(pair: &Pair, trust: &Trust) -> Result<(), Error> {
    let authority = Authority::new("ca");
    let server = Server::tls(
        authority.server_config(pair, &authority, rustls::ALL_VERSIONS),
        |_, mut session| {
            while let Some(frame) = read_frame(&mut session) {
                answer(&mut session, &frame);
            }
        },
    );
    let mut config = authority.config(&[server.port]);
    config.tls = Tls::new(Some(&authority.client()), trust, None).unwrap();
    exchange(&Pool::new(&config), Replay::OnlyIfUnsent).map(drop)
}

fn hash(pair: &Pair) -> String {
    let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    to_hex(&hash::digest(Hash::Sha256, &der).unwrap())
}

#[test]
fn a_certificate_that_is_trusted_itself() {
    let pem = |pair: &Pair| Trust::Pem(pair.certificate.clone().into_bytes());
    for is_ca in [true, false] {
        let own = Authority::self_signed(&["127.0.0.1"], is_ca, 2999);
        met_by(&own, &pem(&own)).unwrap();
        let another = Authority::self_signed(&["127.0.0.1"], is_ca, 2999);
        says(
            &met_by(&own, &pem(&another)).unwrap_err(),
            Kind::Tls,
            &format!(
                "is self-signed and not trusted: if it is the right one, 'mrhsm set -cacert FILE' with this certificate, or 'mrhsm set -pin {}'",
                hash(&own)
            ),
        );
        let expired = Authority::self_signed(&["127.0.0.1"], is_ca, 2020);
        let error = met_by(&expired, &pem(&expired)).unwrap_err();
        says(&error, Kind::Tls, "expired on 2020-01-01");
        let named = Authority::self_signed(&["kmip.example.com"], is_ca, 2999);
        let error = met_by(&named, &pem(&named)).unwrap_err();
        says(
            &error,
            Kind::Tls,
            "is for kmip.example.com, not for 127.0.0.1",
        );
    }
    // One that an unknown CA issued.
    let issued = Authority::new("other").server(&["127.0.0.1"]);
    met_by(&issued, &pem(&issued)).unwrap();
}

#[test]
fn a_pinned_certificate_is_the_only_one() {
    let own = Authority::self_signed(&[], true, 2999);
    let issued = Authority::new("other").server(&["kmip.example.com"]);
    for pair in [&own, &issued] {
        met_by(pair, &Trust::Pins(vec!["00".repeat(32), hash(pair)])).unwrap();
        says(
            &met_by(pair, &Trust::Pins(vec!["00".repeat(32)])).unwrap_err(),
            Kind::Tls,
            &format!(
                "is not the pinned one: if it is the right one, 'mrhsm set -pin {}'",
                hash(pair)
            ),
        );
    }
    let expired = Authority::self_signed(&["127.0.0.1"], true, 2020);
    let error = met_by(&expired, &Trust::Pins(vec![hash(&expired)])).unwrap_err();
    says(&error, Kind::Tls, "expired on 2020-01-01");
}

#[test]
fn a_certificate_without_the_name_that_it_needs() {
    let authority = Authority::new("ca");
    let error = met_by(&authority.server(&[]), &authority.trust()).unwrap_err();
    says(
        &error,
        Kind::Tls,
        "has no Subject Alternative Name (its Common Name does not count): have it issued with subjectAltName = IP:127.0.0.1",
    );
    let address = authority.server_with_dns_name("127.0.0.1");
    says(
        &met_by(&address, &authority.trust()).unwrap_err(),
        Kind::Tls,
        "has 127.0.0.1 as a DNS name, which is not valid for an address: have it issued with subjectAltName = IP:127.0.0.1",
    );
}

#[test]
fn a_revoked_server_is_refused_and_so_is_one_of_unknown_status() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let (pair, another) = (
        authority.server(&["127.0.0.1"]),
        authority.server(&["127.0.0.1"]),
    );
    let server = Server::tls(
        authority.server_config(&pair, &authority, rustls::ALL_VERSIONS),
        |_, mut session| {
            while let Some(frame) = read_frame(&mut session) {
                answer(&mut session, &frame);
            }
        },
    );
    let mut config = authority.config(&[server.port]);
    let mut with = |crls: &Crls| {
        config.tls =
            Tls::with_crls(Some(&authority.client()), &authority.trust(), None, crls).unwrap();
        exchange(&Pool::new(&config), Replay::OnlyIfUnsent).map(drop)
    };
    with(&authority.revoke(&[&another], 2999)).unwrap();
    for (crls, why) in [
        (authority.revoke(&[&another, &pair], 2999), "is revoked"),
        (authority.revoke(&[], 2020), "has expired"),
        (other.revoke(&[], 2999), "no CRL says"),
    ] {
        says(&with(&crls).unwrap_err(), Kind::Tls, why);
    }
}

#[test]
fn our_certificate_is_not_trusted_by_the_server() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let pair = authority.server(&["127.0.0.1"]);
        let server = Server::tls(
            authority.server_config(&pair, &other, &[version]),
            |_, mut s| drop(read_frame(&mut s)),
        );
        says(
            &failure(&authority.config(&[server.port])),
            Kind::Tls,
            "does not accept our client certificate",
        );
    }
}

#[test]
fn an_end_right_after_the_handshake_points_at_our_certificate() {
    let authority = Authority::new("ca");
    let pair = authority.server(&["127.0.0.1"]);
    let config = authority.server_config(&pair, &authority, &[&rustls::version::TLS13]);
    let server = Server::tls(config, |_, mut session| {
        while session.conn.is_handshaking() && session.conn.complete_io(&mut session.sock).is_ok() {
        }
    });
    let error = failure(&authority.config(&[server.port]));
    assert!(
        error
            .to_string()
            .contains("does not accept our client certificate"),
        "{error}"
    );
}

#[test]
fn no_certificate_where_one_is_asked_for() {
    let authority = Authority::new("ca");
    let server = Server::echo(&authority);
    let mut config = authority.config(&[server.port]);
    config.tls = Tls::new(None, &authority.trust(), None).unwrap();
    says(
        &failure(&config),
        Kind::Tls,
        "asks for a client certificate",
    );
}

#[test]
fn an_expired_or_mismatched_identity_is_refused_before_any_connection() {
    let authority = Authority::new("ca");
    let (old, other) = (
        authority.sign(&[], ClientAuth, 2020),
        authority.sign(&[], ClientAuth, 2999),
    );
    let identity =
        Identity::from_pem(old.certificate.as_bytes(), old.key.as_bytes(), None).unwrap();
    says(
        &Tls::new(Some(&identity), &authority.trust(), None).unwrap_err(),
        Kind::Tls,
        "expired on",
    );
    let error =
        Identity::from_pem(other.certificate.as_bytes(), old.key.as_bytes(), None).unwrap_err();
    says(
        &error,
        Kind::Input,
        "does not belong to the client certificate",
    );
    says(
        &Tls::new(None, &Trust::Pem(b"nothing".to_vec()), None).unwrap_err(),
        Kind::Input,
        "no certificate",
    );
}

#[test]
fn closed_port_unknown_host_and_silent_host() {
    let authority = Authority::new("ca");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    says(
        &failure(&authority.config(&[closed])),
        Kind::Unreachable,
        "refuses connections",
    );

    let mut config = authority.config(&[5696]);
    config.hosts = vec![Host {
        name: "no-such-host.invalid".into(),
        port: 5696,
    }];
    let error = exchange(&Pool::new(&config), Replay::OnlyIfUnsent).unwrap_err();
    says(
        &error,
        Kind::Unreachable,
        "'no-such-host.invalid' is unknown",
    );

    let silent = Server::raw(|_, tcp| {
        std::thread::sleep(Duration::from_secs(5));
        drop(tcp);
    });
    says(
        &failure(&authority.config(&[silent.port])),
        Kind::Unreachable,
        "does not answer TLS",
    );
    says(
        &failure(&Config {
            hosts: Vec::new(),
            ..authority.config(&[])
        }),
        Kind::Input,
        "mrhsm set -ip",
    );
}

#[test]
fn not_tls_and_not_kmip() {
    let authority = Authority::new("ca");
    let http = Server::raw(|_, mut tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        std::thread::sleep(Duration::from_millis(100));
    });
    says(
        &failure(&authority.config(&[http.port])),
        Kind::Tls,
        "not with TLS",
    );
    for (reply, words) in [
        (&b"HTTP/1.1 400 Bad"[..], "this is not a KMIP message"),
        (b"\x42\x00\x7b\x01\x7f\xff\xff\xf8", "2147483640 bytes"),
    ] {
        let pair = authority.server(&["127.0.0.1"]);
        let server = Server::tls(
            authority.server_config(&pair, &authority, rustls::ALL_VERSIONS),
            move |_, mut session| {
                read_frame(&mut session);
                let _ = session.write_all(reply);
                let _ = read_frame(&mut session);
            },
        );
        says(
            &failure(&authority.config(&[server.port])),
            Kind::Protocol,
            words,
        );
    }
}

#[test]
fn silence_and_dribble_after_the_request_end_at_the_deadline() {
    let authority = Authority::new("ca");
    for dribble in [false, true] {
        let pair = authority.server(&["127.0.0.1"]);
        let server = Server::tls(
            authority.server_config(&pair, &authority, rustls::ALL_VERSIONS),
            move |_, mut session| {
                read_frame(&mut session);
                for byte in [0x42, 0, 0x7b, 1, 0, 0, 0, 64].into_iter().chain([0; 64]) {
                    std::thread::sleep(Duration::from_millis(100));
                    if dribble
                        && session
                            .write_all(&[byte])
                            .and_then(|()| session.flush())
                            .is_err()
                    {
                        return;
                    }
                }
            },
        );
        says(
            &failure(&authority.config(&[server.port])),
            Kind::Broken,
            "did not answer in time",
        );
    }
}

#[test]
fn a_reset_at_every_stage_is_told_apart() {
    let authority = Authority::new("ca");
    let accepted = Server::raw(|_, tcp| reset(tcp));
    says(
        &failure(&authority.config(&[accepted.port])),
        Kind::Unreachable,
        "broke off the TLS handshake",
    );

    // After the request, before or within the answer: it may have been executed.
    for half in [false, true] {
        let pair = authority.server(&["127.0.0.1"]);
        let config = authority.server_config(&pair, &authority, rustls::ALL_VERSIONS);
        let server = Server::tls(config, move |number, mut session| {
            if number == 0 {
                let request = read_frame(&mut session).unwrap();
                answer(&mut session, &request);
            }
            let request = read_frame(&mut session).unwrap();
            if half {
                answer(&mut session, &request[..24]);
            }
        });
        let pool = Pool::new(&authority.config(&[server.port]));
        exchange(&pool, Replay::OnlyIfUnsent).unwrap();
        let error = exchange(&pool, Replay::OnlyIfUnsent).unwrap_err();
        says(
            &error,
            Kind::Broken,
            "closed the connection instead of answering",
        );
        assert_eq!(
            server.connections(),
            1,
            "a request that may have been executed was sent again"
        );
    }
}

#[test]
fn a_safe_request_is_sent_again_once_the_connection_broke() {
    let authority = Authority::new("ca");
    let pair = authority.server(&["127.0.0.1"]);
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let server = Server::tls(
        authority.server_config(&pair, &authority, rustls::ALL_VERSIONS),
        move |number, mut session| {
            while let Some(request) = read_frame(&mut session) {
                if seen.fetch_add(1, SeqCst) == 1 && number == 0 {
                    return;
                }
                answer(&mut session, &request);
            }
        },
    );
    let pool = Pool::new(&authority.config(&[server.port]));
    exchange(&pool, Replay::Safe).unwrap();
    exchange(&pool, Replay::Safe).unwrap();
    assert_eq!((server.connections(), requests.load(SeqCst)), (2, 3));
}

#[test]
fn a_stale_idle_connection_is_replaced_unnoticed_and_its_session_of_tls_1_3_resumed() {
    let authority = Authority::new("ca");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let pair = authority.server(&["127.0.0.1"]);
        let resumed = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&resumed);
        let server = Server::tls(
            authority.server_config(&pair, &authority, &[version]),
            move |_, mut session| {
                let request = read_frame(&mut session).unwrap();
                if session.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
                    seen.fetch_add(1, SeqCst);
                }
                answer(&mut session, &request);
            },
        );
        let pool = Pool::new(&authority.config(&[server.port]));
        for _ in 0..3 {
            exchange(&pool, Replay::OnlyIfUnsent).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
        let expected = if version == &rustls::version::TLS13 {
            2
        } else {
            0
        };
        assert_eq!((server.connections(), resumed.load(SeqCst)), (3, expected));
    }
}

#[test]
fn the_next_host_takes_over_and_stays() {
    let authority = Authority::new("ca");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let silent = Server::raw(|_, tcp| {
        std::thread::sleep(Duration::from_secs(5));
        drop(tcp);
    });
    let good = Server::echo(&authority);
    let pool = Pool::new(&authority.config(&[closed, silent.port, good.port]));
    let start = Instant::now();
    for _ in 0..3 {
        exchange(&pool, Replay::OnlyIfUnsent).unwrap();
    }
    assert!(start.elapsed() < Duration::from_millis(800));
    assert_eq!((silent.connections(), good.connections()), (1, 1));
}

#[test]
fn a_host_that_falls_silent_leaves_time_for_the_next_when_the_request_may_be_repeated() {
    let authority = Authority::new("ca");
    let pair = authority.server(&["127.0.0.1"]);
    let silent = Server::tls(
        authority.server_config(&pair, &authority, rustls::ALL_VERSIONS),
        |_, mut session| {
            read_frame(&mut session);
            std::thread::sleep(Duration::from_secs(5));
        },
    );
    let good = Server::echo(&authority);
    let config = authority.config(&[silent.port, good.port]);
    exchange(&Pool::new(&config), Replay::Safe).unwrap();
    let error = exchange(&Pool::new(&config), Replay::OnlyIfUnsent).unwrap_err();
    says(&error, Kind::Broken, "did not answer in time");
    assert_eq!((silent.connections(), good.connections()), (2, 1));
}

#[test]
fn eight_threads_wait_for_a_slow_server_together() {
    let authority = Authority::new("ca");
    let pair = authority.server(&["127.0.0.1"]);
    let server = Server::tls(
        authority.server_config(&pair, &authority, rustls::ALL_VERSIONS),
        |_, mut session| {
            while let Some(request) = read_frame(&mut session) {
                std::thread::sleep(Duration::from_millis(300));
                answer(&mut session, &request);
            }
        },
    );
    let pool = Pool::new(&Config {
        connect_timeout: Duration::from_secs(5),
        ..authority.config(&[server.port])
    });
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                pool.exchange(
                    &frame(64),
                    Replay::OnlyIfUnsent,
                    Instant::now() + Duration::from_secs(5),
                )
                .unwrap()
            });
        }
    });
    assert!(
        start.elapsed() < Duration::from_millis(1200),
        "{:?}",
        start.elapsed()
    );
    assert!(server.connections() <= 8);
}

#[test]
fn hosts_in_every_spelling() {
    let parse = |s| {
        Host::parse(s, 5696)
            .map(|h| h.to_string())
            .map_err(|e| e.to_string())
    };
    assert_eq!(parse("kmip1"), Ok("kmip1:5696".into()));
    assert_eq!(
        parse(" kmip1.example.com:5697 "),
        Ok("kmip1.example.com:5697".into())
    );
    assert_eq!(parse("12.1.78.164"), Ok("12.1.78.164:5696".into()));
    assert_eq!(parse("::1"), Ok("[::1]:5696".into()));
    assert_eq!(parse("[fe80::1]:9"), Ok("[fe80::1]:9".into()));
    for bad in [
        "",
        "a b",
        "kmip1:0",
        "kmip1:70000",
        "kmip1:",
        "[::1",
        "[::1]x",
        "http://kmip1",
        "a/b",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}
