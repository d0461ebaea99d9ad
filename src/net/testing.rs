//! A certificate authority and a TLS server for tests, with every misbehaviour a test wants.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::crypto::crl::Crls;

use super::{Config, Host, Identity, Tls, Trust};

/// An established TLS session on the server's side.
pub(crate) type Session = StreamOwned<ServerConnection, TcpStream>;

/// A certificate and its key, both PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate authority of its own.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate that signs itself, for these names.
    pub(crate) fn self_signed(names: &[&str], is_ca: bool, until_year: i32) -> Pair {
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        params.distinguished_name.push(DnType::CommonName, "own");
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn sign(
        &self,
        names: &[&str],
        purpose: ExtendedKeyUsagePurpose,
        until_year: i32,
    ) -> Pair {
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        self.issue(CertificateParams::new(names).unwrap(), purpose, until_year)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
        until_year: i32,
    ) -> Pair {
        params.extended_key_usages = vec![purpose];
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        params.distinguished_name.push(DnType::CommonName, "leaf");
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A server's certificate whose only name is a DNS name, also if it is an address.
    pub(crate) fn server_with_dns_name(&self, name: &str) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth, 2999)
    }

    pub(crate) fn server(&self, names: &[&str]) -> Pair {
        self.sign(names, ExtendedKeyUsagePurpose::ServerAuth, 2999)
    }

    pub(crate) fn client(&self) -> Identity {
        let pair = self.sign(&[], ExtendedKeyUsagePurpose::ClientAuth, 2999);
        Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes(), None).unwrap()
    }

    /// What it revokes: the certificates of these pairs, until January of a year.
    pub(crate) fn revoke(&self, pairs: &[&Pair], until_year: i32) -> Crls {
        let revoked_certs = pairs.iter().map(|pair| {
            let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
            let (_, parsed) = X509Certificate::from_der(&der).unwrap();
            RevokedCertParams {
                serial_number: SerialNumber::from_slice(parsed.raw_serial()),
                revocation_time: date_time_ymd(2010, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2010, 1, 1),
            next_update: date_time_ymd(until_year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        let mut crls = Crls::default();
        crls.read(list.pem().unwrap().as_bytes(), "crl.pem")
            .unwrap();
        crls
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::Pem(self.pem.clone().into_bytes())
    }

    /// A client for one local port, with short times.
    pub(crate) fn config(&self, ports: &[u16]) -> Config {
        let tls = Tls::new(Some(&self.client()), &self.trust(), None).unwrap();
        let hosts = ports
            .iter()
            .map(|&port| Host {
                name: "127.0.0.1".into(),
                port,
            })
            .collect();
        Config {
            connect_timeout: Duration::from_millis(400),
            deadline: Duration::from_millis(800),
            ..Config::new(hosts, tls)
        }
    }

    /// What a server of this authority uses, which asks its clients for a certificate of `clients`.
    pub(crate) fn server_config(
        &self,
        pair: &Pair,
        clients: &Authority,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap())
            .unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .unwrap();
        let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap();
        Arc::new(
            builder
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain, key)
                .unwrap(),
        )
    }
}

/// A listening port; each connection is served by a thread that ends with it.
pub(crate) struct Server {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Serves raw TCP connections; `serve` gets each with its number, counted from 0.
    pub(crate) fn raw(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, serve) = (Arc::clone(&connections), Arc::new(serve));
        std::thread::spawn(move || {
            while let Ok((tcp, _)) = listener.accept() {
                let number = counter.fetch_add(1, SeqCst);
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(number, tcp));
            }
        });
        Server { port, connections }
    }

    /// Serves TLS sessions.
    pub(crate) fn tls(
        config: Arc<ServerConfig>,
        serve: impl Fn(usize, Session) + Send + Sync + 'static,
    ) -> Server {
        Server::raw(move |number, tcp| {
            tcp.set_nodelay(true).unwrap();
            serve(
                number,
                StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), tcp),
            );
        })
    }

    /// Answers every frame with itself, as a response.
    pub(crate) fn echo(authority: &Authority) -> Server {
        let pair = authority.server(&["127.0.0.1", "localhost"]);
        Server::tls(
            authority.server_config(&pair, authority, rustls::ALL_VERSIONS),
            |_, mut session| {
                while let Some(frame) = read_frame(&mut session) {
                    answer(&mut session, &frame);
                }
            },
        )
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// One TTLV frame; `None` when the client is gone.
pub(crate) fn read_frame(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut frame = vec![0; 8];
    from.read_exact(&mut frame).ok()?;
    let len = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
    frame.resize(8 + len, 0);
    from.read_exact(&mut frame[8..]).ok()?;
    Some(frame)
}

/// Sends `request` back with the tag of a response.
pub(crate) fn answer(to: &mut impl Write, request: &[u8]) {
    let mut frame = request.to_vec();
    frame[2] = 0x7b;
    let _ = to.write_all(&frame).and_then(|()| to.flush());
}

/// A request frame of `len` bytes of content.
pub(crate) fn frame(len: u32) -> Vec<u8> {
    let mut frame = vec![0x42, 0x00, 0x78, 0x01];
    frame.extend(len.to_be_bytes());
    frame.resize(8 + len as usize, 0x5a);
    frame
}

/// Closes with a reset instead of an orderly end: data is left unread.
pub(crate) fn reset(tcp: TcpStream) {
    // Closing with unread input makes Linux send RST.
    std::thread::sleep(Duration::from_millis(50));
    drop(tcp);
}
