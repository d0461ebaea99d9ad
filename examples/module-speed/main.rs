//! Speed of PKCS#11 modules: `module-speed MODULE [MODULE ..]` measures each, in a process and with a new token of its own, and prints
//! what a call costs in microseconds, and how many times the first one's that is for the others. `-bare` stands for the library that
//! ours calls (AWS-LC), `-serve PATH` for the module at a path with a token on `mrhsm serve`, which must be built beside this program.
//!
//! A token is made by `C_InitToken`, in a scratch directory that ours (`MRHSM_TOKEN_DIR`) and SoftHSM2 (`SOFTHSM2_CONF`) are told of.
#![allow(unsafe_code, reason = "an application in C is what this plays")]

mod bare;
mod module;
mod work;

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mrhsm_pkcs11::config::{Host, Settings, StoreKind};
use mrhsm_pkcs11::secret::Secret;
use mrhsm_pkcs11::token::files::TokenDir;
use mrhsm_pkcs11::token::secrets::{IdentityChange, NewToken, Part, UserPin, create_token};

use crate::module::{LABEL, SO_PIN, USER_PIN};

/// How long each row is measured.
const TIME: Duration = Duration::from_millis(250);
/// Others use the machine too: what a call costs is what it takes in the best of many runs as short as this.
const RUN: Duration = Duration::from_millis(2);
const SIZES: [(usize, &str); 5] = [
    (16, "16 B"),
    (1 << 10, "1 KiB"),
    (16 << 10, "16 KiB"),
    (1 << 20, "1 MiB"),
    (16 << 20, "16 MiB"),
];

fn tell(row: &str, took: Duration) {
    println!("{row}\t{}", took.as_secs_f64() * 1e6);
}

/// Measures `work` and tells what it takes.
fn time(row: &str, mut work: impl FnMut()) {
    work();
    let before = Instant::now();
    work();
    let times =
        (RUN.as_secs_f64() / before.elapsed().as_secs_f64().max(1e-8)).clamp(1.0, 1e5) as u32;
    let (start, mut best) = (Instant::now(), Duration::MAX);
    while start.elapsed() < TIME {
        let before = Instant::now();
        (0..times).for_each(|_| work());
        best = best.min(before.elapsed() / times);
    }
    tell(row, best);
}

/// `mrhsm serve`, ended when this is dropped.
struct Running(Child);

impl Running {
    /// Starts it, and makes a token for it.
    fn start(scratch: &Path) -> Running {
        let mrhsm = std::env::current_exe()
            .unwrap()
            .parent()
            .unwrap()
            .with_file_name("mrhsm");
        let dir = scratch.join("served");
        let mut process = Command::new(mrhsm)
            .args(["serve", "-listen", "127.0.0.1:0", "-dir"])
            .arg(&dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("build mrhsm with --release first");
        let mut lines = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let port = lines
            .find_map(|line| {
                line.strip_prefix("Listening on ")?
                    .rsplit(':')
                    .next()?
                    .parse()
                    .ok()
            })
            .expect("a port");
        let [certificate, key, ca] = ["client.pem", "client.key", "ca.pem"]
            .map(|name| std::fs::read(dir.join(name)).unwrap());
        let hosts = vec![Host {
            name: "localhost".into(),
            port: Some(port),
        }];
        let token = NewToken {
            label: LABEL,
            so_pin: &Secret::new(SO_PIN.to_vec()),
            user_pin: UserPin::Given(&Secret::new(USER_PIN.to_vec())),
            settings: Settings {
                store: StoreKind::Kmip,
                hosts,
                ..Settings::default()
            },
            username: None,
            identity: IdentityChange {
                certificate: Part::Set(&certificate),
                key: Part::Set(&key),
                ca: Part::Set(&ca),
                ..IdentityChange::default()
            },
        };
        create_token(&TokenDir::at(scratch.join("mrhsm")), &token).unwrap();
        Running(process)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs this program again for one of `what`, and gives back the rows in their order.
fn measured(number: usize, arguments: &[&str]) -> Vec<(String, f64)> {
    let scratch = PathBuf::from(format!(
        "/dev/shm/module-speed-{}-{number}",
        std::process::id()
    ));
    for dir in ["mrhsm", "softhsm"] {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(scratch.join(dir))
            .unwrap();
    }
    let _running = (arguments[0] == "-serve").then(|| Running::start(&scratch));
    let conf = scratch.join("softhsm.conf");
    std::fs::write(
        &conf,
        format!(
            "directories.tokendir = {}\nlog.level = ERROR\n",
            scratch.join("softhsm").display()
        ),
    )
    .unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("-one")
        .args(arguments)
        .env("MRHSM_TOKEN_DIR", scratch.join("mrhsm"))
        .env("SOFTHSM2_CONF", conf)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let _ = std::fs::remove_dir_all(&scratch);
    assert!(output.status.success(), "{arguments:?}: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| {
            line.split_once('\t')
                .map(|(row, micros)| (row.into(), micros.parse().unwrap()))
        })
        .collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["-one", "-bare"] => return bare::bare(),
        ["-one", "-serve", path] => return work::served(path),
        ["-one", path] => return work::module(path),
        [] => return eprintln!("usage: module-speed [-bare | [-serve] MODULE] .."),
        _ => {}
    }
    let mut columns = Vec::new();
    let mut rest = &arguments[..];
    while !rest.is_empty() {
        let (one, others) = rest.split_at(if rest[0] == "-serve" { 2 } else { 1 });
        columns.push(measured(columns.len(), one));
        rest = others;
    }
    let by_name: Vec<HashMap<_, _>> = columns
        .iter()
        .map(|rows| rows.iter().cloned().collect())
        .collect();
    let mut told = Vec::new();
    for row in columns.iter().flatten().map(|(row, _)| row) {
        if told.contains(&row) {
            continue;
        }
        told.push(row);
        print!("{row:<56}");
        let first = by_name[0].get(row);
        for (number, column) in by_name.iter().enumerate() {
            match (column.get(row), first) {
                (Some(micros), Some(first)) if number > 0 => {
                    print!("{micros:>12.2} {:>7.2}x", micros / first)
                }
                (Some(micros), _) => print!("{micros:>12.2}"),
                (None, _) => print!("{:>12} {:>8}", "-", ""),
            }
        }
        println!();
    }
}
