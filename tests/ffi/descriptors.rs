//! Hosts that close descriptors: the standard ones, as some daemons do, or all of them. Nothing of theirs is written to or closed, and
//! no signal reaches them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use mrhsm_pkcs11::ck::*;

use super::fork::in_child;
use super::host::{Host, USER_PIN, alone, kmip_token};
use crate::conformance::app::{open, rows};
use crate::kmip_server::{Personality, Script, Server};

/// What a number refers to in this process.
fn open_file(number: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{number}")).ok()
}

fn use_token(host: &Host, slot: CK_SLOT_ID) {
    let app = open(host, slot, true).unwrap();
    app.login(CKU_USER, USER_PIN).unwrap();
    let template = rows![CKA_TOKEN: true, CKA_VALUE_LEN: 32 as CK_ULONG, CKA_LABEL: b"key"];
    let key = app.generate(CKM_AES_KEY_GEN, &template).unwrap();
    app.destroy(key).unwrap();
    app.close().unwrap();
}

#[test]
fn no_descriptor_of_ours_is_a_standard_one() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let on_hosts = kmip_token(server.port(), Duration::from_secs(20));
        in_child(|| {
            for number in 0..3 {
                // SAFETY: nothing in this process uses the standard descriptors any more.
                unsafe { libc::close(number) };
            }
            host.initialize();
            let slots = host.slots();
            use_token(host, on_hosts);
            let here = host.make_token();
            use_token(host, here);
            assert!(slots.contains(&on_hosts));
            for number in 0..3 {
                assert_eq!(open_file(number), None, "{number}");
            }
            let app = open(host, on_hosts, true).unwrap();
            app.login(CKU_USER, USER_PIN).unwrap();
            assert!(app.find(&rows![CKA_TOKEN: true]).is_ok());
            for number in 0..3 {
                assert_eq!(open_file(number), None, "{number}, with a connection");
            }
            host.finalize();
        });
    });
}

#[test]
fn a_host_that_closes_everything_keeps_its_own_files() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(server.port(), Duration::from_secs(20));
        in_child(|| {
            host.initialize();
            let here = host.make_token();
            let app = open(host, here, true).unwrap();
            app.login(CKU_USER, USER_PIN).unwrap();
            let template = rows![CKA_TOKEN: true, CKA_VALUE_LEN: 32 as CK_ULONG];
            app.generate(CKM_AES_KEY_GEN, &template).unwrap();
            let served = open(host, slot, true).unwrap();
            served.login(CKU_USER, USER_PIN).unwrap();
            served.generate(CKM_AES_KEY_GEN, &template).unwrap();

            // SAFETY: what this process had open is the module's, and the host closes all that it does not know.
            unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
            let directory = tempfile::tempdir().unwrap();
            let files: Vec<File> = (0..40)
                .map(|n| File::create_new(directory.path().join(n.to_string())).unwrap())
                .collect();
            app.generate(CKM_AES_KEY_GEN, &template).unwrap();
            served.generate(CKM_AES_KEY_GEN, &template).unwrap();
            assert_eq!(app.find(&template[..1].to_vec()).unwrap().len(), 2);
            assert_eq!(served.find(&template[..1].to_vec()).unwrap().len(), 2);
            host.finalize();
            for file in &files {
                let about = file.metadata().expect("it is still open");
                assert_eq!(about.len(), 0, "descriptor {}", file.as_raw_fd());
            }
        });
    });
}

/// Passes connections on to `port`. Of each that sends more than a few requests it says that it ends, and ends it with a reset while
/// the rest is being sent.
fn ends_in_the_middle(port: u16) -> u16 {
    const PASSED: usize = 60_000;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // What does not fit into small segments waits in the module, as on a slow line.
    for (level, option, value) in [
        (libc::SOL_SOCKET, libc::SO_RCVBUF, 4096),
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG, 536),
    ] {
        let value: libc::c_int = value;
        let length = size_of_val(&value) as libc::socklen_t;
        let descriptor = listener.as_raw_fd();
        // SAFETY: both options are an int.
        let done = unsafe {
            libc::setsockopt(descriptor, level, option, (&raw const value).cast(), length)
        };
        assert_eq!(done, 0);
    }
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || pass(client, port, PASSED));
        }
    });
    own
}

fn pass(mut client: TcpStream, port: u16, most: usize) {
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut back, mut from) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || _ = std::io::copy(&mut from, &mut back));
    let (mut buffer, mut passed) = ([0; 4096], 0);
    while passed < most {
        match client.read(&mut buffer) {
            Ok(n) if n > 0 && server.write_all(&buffer[..n]).is_ok() => passed += n,
            _ => return,
        }
    }
    let _ = client.shutdown(Shutdown::Write);
    std::thread::sleep(Duration::from_millis(100));
    let _ = server.shutdown(Shutdown::Both);
}

#[test]
fn no_signal_reaches_a_host_whose_server_ends_a_connection() {
    alone(|host| {
        let server = Server::start(Personality::standard(), Script::none());
        let slot = kmip_token(ends_in_the_middle(server.port()), Duration::from_secs(3));
        in_child(|| {
            // SAFETY: as in a program in C, where nothing ignores the signal.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            host.initialize();
            let app = open(host, slot, true).unwrap();
            app.login(CKU_USER, USER_PIN).unwrap();
            let value = vec![7; 900_000].leak();
            let data =
                rows![CKA_CLASS: CKO_DATA, CKA_TOKEN: true, CKA_LABEL: b"data", CKA_VALUE: &*value];
            for _ in 0..3 {
                assert_ne!(app.create(&data).map(drop), Ok(()));
            }
            host.finalize();
        });
    });
}
