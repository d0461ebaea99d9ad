//! The token directory between processes: killed writers, readers beside a writer, a full disk.
//!
//! The writers are this test binary again, told by the environment what to do.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mrhsm_pkcs11::config::{Settings, TokenConfig};
use mrhsm_pkcs11::error::Result;
use mrhsm_pkcs11::token::files::{CA_CERT, TOKEN_KEY, TokenDir};

const UUID: &str = "69255cf4-0ac3-8d22-b12c-fd503a740cda";
const DIR: &str = "MRHSM_TEST_WRITE_DIR";
const ROUNDS: &str = "MRHSM_TEST_WRITE_ROUNDS";

/// Writes the same number to the configuration and to two files, in one turn at the lock for each.
fn write_turn(dir: &TokenDir, turn: usize) -> Result<()> {
    dir.update(|config| {
        let mut token = TokenConfig::new(&format!("turn {turn}"), UUID, Settings::default())?;
        token.username = Some(turn.to_string().repeat(1 + turn % 500));
        token.cluster = Some(turn.to_string());
        config.tokens = vec![token];
        Ok(())
    })?;
    let content = turn.to_string().repeat(1000);
    dir.lock()?.write(
        UUID,
        &[
            (TOKEN_KEY, Some(content.as_bytes())),
            (CA_CERT, Some(content.as_bytes())),
        ],
    )
}

/// What a writer process runs; nothing in an ordinary test run.
#[test]
fn writer_process() {
    let Some(path) = std::env::var_os(DIR) else {
        return;
    };
    let rounds: usize = std::env::var(ROUNDS).unwrap().parse().unwrap();
    let dir = TokenDir::at(path);
    for turn in 0..rounds {
        if let Err(e) = write_turn(&dir, turn) {
            eprintln!("{e}");
            std::process::exit(3);
        }
    }
}

fn command(dir: &Path, rounds: usize, shell: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!(
        "{shell} exec \"$0\" tokendir::writer_process --exact --nocapture"
    ));
    command
        .arg(std::env::current_exe().unwrap())
        .env(DIR, dir)
        .env(ROUNDS, rounds.to_string());
    // A group of its own, so that no child of it is left when it is killed.
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

fn writer(dir: &Path) -> Child {
    command(dir, usize::MAX, "").spawn().unwrap()
}

fn made() -> (tempfile::TempDir, TokenDir) {
    let tmp = tempfile::tempdir().unwrap();
    let dir = TokenDir::at(tmp.path().join("tokens"));
    dir.lock()
        .unwrap()
        .make_folder(UUID, &[(TOKEN_KEY, b"0"), (CA_CERT, b"0")])
        .unwrap();
    write_turn(&dir, 0).unwrap();
    (tmp, dir)
}

/// Every file is one turn's, whole.
fn check(dir: &TokenDir) {
    let token = &dir.load().unwrap().tokens[0];
    let turn: usize = token.label.strip_prefix("turn ").unwrap().parse().unwrap();
    assert_eq!(token.cluster.as_deref(), Some(turn.to_string().as_str()));
    assert_eq!(
        token.username,
        Some(turn.to_string().repeat(1 + turn % 500))
    );
    for name in [TOKEN_KEY, CA_CERT] {
        let content = dir.read(UUID, name).unwrap().unwrap();
        let digits = content.len() / 1000;
        let turn = std::str::from_utf8(&content.expose()[..digits]).unwrap();
        assert_eq!(content.expose(), turn.repeat(1000).as_bytes());
    }
}

#[test]
fn a_writer_killed_at_any_time_leaves_whole_files() {
    let (_tmp, dir) = made();
    let mut wrote = false;
    for round in 0..40u64 {
        let mut child = writer(dir.path());
        std::thread::sleep(Duration::from_millis(5 + round * 7 % 40));
        child.kill().unwrap();
        child.wait().unwrap();
        check(&dir);
        wrote |= dir.load().unwrap().tokens[0].label != "turn 0";
        // The lock went with the process, and the next writer clears up.
        drop(dir.lock().unwrap());
        let folder = dir.path().join(UUID);
        for path in [dir.path(), &folder] {
            let left: Vec<_> = std::fs::read_dir(path)
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            assert!(
                left.iter()
                    .all(|n| !n.to_string_lossy().starts_with(".tmp-")),
                "{left:?}"
            );
        }
    }
    assert!(wrote, "no writer came to write");
}

#[test]
fn readers_see_whole_files_while_two_processes_write() {
    let (_tmp, dir) = made();
    let mut writers = [writer(dir.path()), writer(dir.path())];
    let stop = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0;
                    while !stop.load(Ordering::Relaxed) {
                        check(&dir);
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().map(|r| r.join().unwrap()).sum::<u32>()
    });
    for writer in &mut writers {
        assert!(writer.try_wait().unwrap().is_none(), "a writer gave up");
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
    assert!(reads > 10, "{reads} reads");
}

#[test]
fn a_disk_without_room_leaves_the_old_files() {
    let (_tmp, dir) = made();
    let before = std::fs::read(dir.config_path()).unwrap();
    // No file may grow: the write fails as on a full disk, where the shell's trap keeps the signal away.
    let child = command(dir.path(), 2, "trap '' XFSZ; ulimit -f 0;")
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(
        message.contains("nothing was changed: cannot write") && message.contains("make room"),
        "{message}"
    );
    assert_eq!(std::fs::read(dir.config_path()).unwrap(), before);
    check(&dir);
}
