//! TLS to PostgreSQL, by rustls with AWS-LC.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mrhsm_pkcs11::ck::CKR_DEVICE_ERROR;
use mrhsm_pkcs11::error::{Error, Kind, Result};
use mrhsm_pkcs11::net::{Tls, Trust};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::{TlsConnector, client};

/// Makes TLS connections.
#[derive(Clone)]
pub struct Connector(Arc<ClientConfig>);

impl Connector {
    /// Trusts the certificates in `ca`, PEM, or those of the system.
    pub fn new(ca: Option<&[u8]>) -> Result<Connector> {
        let trust = ca.map_or(Trust::System, |ca| Trust::Pem(ca.to_vec()));
        Ok(Connector(Tls::new(None, &trust, None)?.config()))
    }
}

impl MakeTlsConnect<tokio_postgres::Socket> for Connector {
    type Stream = Stream;
    type TlsConnect = ToHost;
    type Error = Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<ToHost> {
        let name = ServerName::try_from(host.to_owned()).map_err(|e| {
            let message = format!("'{host}' is no host name for TLS");
            Error::new(Kind::Tls, CKR_DEVICE_ERROR, message).because(e)
        })?;
        Ok(ToHost {
            config: self.0.clone(),
            name,
        })
    }
}

/// Makes a TLS connection to one host.
pub struct ToHost {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsConnect<tokio_postgres::Socket> for ToHost {
    type Stream = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn connect(self, socket: tokio_postgres::Socket) -> Self::Future {
        Box::pin(async move {
            let connector = TlsConnector::from(self.config);
            connector.connect(self.name, socket).await.map(Stream)
        })
    }
}

/// A TLS connection.
pub struct Stream(client::TlsStream<tokio_postgres::Socket>);

impl tokio_postgres::tls::TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        // The server's certificate is verified, with its name.
        ChannelBinding::none()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
