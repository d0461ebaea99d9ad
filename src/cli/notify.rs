//! Tells the service manager when the server is ready and when it stops (`sd_notify(3)`, `Type=notify`).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::env;

/// The server accepts connections.
pub const READY: &str = "READY=1";
/// The server ends.
pub const STOPPING: &str = "STOPPING=1";

/// Sends `state` to the service manager, if one started this process and wants to know.
pub fn notify(state: &str) -> io::Result<()> {
    match env::variable("NOTIFY_SOCKET") {
        Some(socket) => send(&socket.to_string_lossy(), state),
        None => Ok(()),
    }
}

fn send(socket: &str, state: &str) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(state.as_bytes(), &address)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_abstract_name_are_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("mrhsm-notify-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&abstract_name).unwrap();
        let sockets = [path.to_str().unwrap().to_owned(), format!("@{name}")];
        for (socket, receiver) in sockets.iter().zip([by_path, by_name]) {
            send(socket, READY).unwrap();
            let mut message = [0; 64];
            let length = receiver.recv(&mut message).unwrap();
            assert_eq!(&message[..length], READY.as_bytes());
        }
        assert!(send("/nonexistent/notify", READY).is_err());
    }
}
