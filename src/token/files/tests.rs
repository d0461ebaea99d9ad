use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;
use crate::ck::{CKR_DEVICE_MEMORY, CKR_TOKEN_WRITE_PROTECTED};
use crate::config::{Settings, TokenConfig};
use crate::fault::{End, run, scratch};

const UUID: &str = "69255cf4-0ac3-8d22-b12c-fd503a740cda";

fn no_dir() -> (tempfile::TempDir, TokenDir) {
    let tmp = scratch();
    let dir = TokenDir::at(tmp.path().join("conf/tokens"));
    (tmp, dir)
}

/// A directory with one token, labelled "t", whose files hold "one" and "two".
fn with_token() -> (tempfile::TempDir, TokenDir) {
    let (tmp, dir) = no_dir();
    dir.lock()
        .unwrap()
        .make_folder(UUID, &[(TOKEN_KEY, b"one"), (CA_CERT, b"two")])
        .unwrap();
    dir.update(|c| {
        c.tokens
            .push(TokenConfig::new("t", UUID, Settings::default()).unwrap());
        Ok(())
    })
    .unwrap();
    (tmp, dir)
}

fn relabel(dir: &TokenDir, label: &str) -> Result<()> {
    dir.update(|c| {
        c.tokens[0].label = label.into();
        Ok(())
    })
}

fn label(dir: &TokenDir) -> String {
    dir.load().unwrap().tokens[0].label.clone()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn message<T>(result: Result<T>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn a_missing_directory_is_empty_and_the_first_writer_makes_it() {
    let (_tmp, dir) = no_dir();
    assert_eq!(dir.load().unwrap(), Config::default());
    assert!(dir.read(UUID, TOKEN_KEY).unwrap().is_none());
    assert!(!dir.path().exists(), "reading makes nothing");

    let (_tmp, dir) = with_token();
    assert_eq!(mode(dir.path()), 0o700);
    assert_eq!(mode(&dir.path().join(UUID)), 0o700);
    for file in [
        dir.config_path(),
        dir.path().join(LOCK),
        dir.path().join(UUID).join(TOKEN_KEY),
    ] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    assert_eq!(dir.read(UUID, TOKEN_KEY).unwrap().unwrap().expose(), b"one");
    assert!(dir.read(UUID, CLIENT_KEY).unwrap().is_none());
    assert!(dir.read("../x", TOKEN_KEY).is_err());
}

#[test]
fn an_update_without_a_change_does_not_write() {
    let (_tmp, dir) = with_token();
    let inode = || fs::metadata(dir.config_path()).unwrap().ino();
    let before = inode();
    dir.update(|_| Ok(())).unwrap();
    let failed = dir.update(|c| {
        c.tokens.clear();
        Err::<(), _>(Error::input("no"))
    });
    assert!(failed.is_err());
    assert_eq!(inode(), before);
    relabel(&dir, "other").unwrap();
    assert_ne!(inode(), before, "replaced as a whole");
}

#[test]
fn what_cannot_be_read_again_is_not_written() {
    let (_tmp, dir) = with_token();
    assert!(message(relabel(&dir, &"x".repeat(33))).contains("33 bytes long"));
    assert_eq!(label(&dir), "t");
}

#[test]
fn what_others_can_read_is_refused_with_the_command_that_mends_it() {
    let (_tmp, dir) = with_token();
    for (path, good, bad) in [
        (dir.config_path(), 0o600, 0o644),
        (dir.path().to_path_buf(), 0o700, 0o750),
    ] {
        chmod(&path, bad);
        let e = message(dir.load());
        assert!(
            e.contains(&format!("chmod {good:o} {}", path.display()))
                && e.contains(&format!("{bad:04o}")),
            "{e}"
        );
        chmod(&path, good);
        dir.load().unwrap();
    }
    let folder = dir.path().join(UUID);
    for (path, good) in [(folder.join(TOKEN_KEY), 0o600), (folder, 0o700)] {
        chmod(&path, good | 0o040);
        assert!(message(dir.read(UUID, TOKEN_KEY)).contains(&format!("chmod {good:o} ")));
        chmod(&path, good);
    }
    dir.read(UUID, TOKEN_KEY).unwrap().unwrap();
}

#[test]
fn links_pipes_and_giants_are_refused() {
    let (tmp, dir) = with_token();
    let path = dir.path().join(UUID).join(TOKEN_KEY);
    fs::rename(&path, tmp.path().join("elsewhere")).unwrap();
    symlink(tmp.path().join("elsewhere"), &path).unwrap();
    assert!(message(dir.read(UUID, TOKEN_KEY)).contains("symbolic link"));
    fs::remove_file(&path).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    assert!(message(dir.read(UUID, TOKEN_KEY)).contains("not a regular file"));
    fs::remove_file(&path).unwrap();
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    file.set_len(FILE_MAX + 1).unwrap();
    assert!(message(dir.read(UUID, TOKEN_KEY)).contains("more than any file"));
    // The directory itself may be a link to where it really is.
    symlink(dir.path(), tmp.path().join("link")).unwrap();
    assert_eq!(label(&TokenDir::at(tmp.path().join("link"))), "t");
}

#[test]
fn foreign_owners_are_refused_and_root_writes_for_the_owner() {
    let (_tmp, dir) = with_token();
    let me = config::effective_uid();
    if me != 0 {
        let meta = fs::metadata("/").unwrap();
        assert!(
            message(check_owner(Path::new("/"), &meta, 0)).contains(&format!("chown -R {me} /"))
        );
        return;
    }
    let folder = dir.path().join(UUID);
    for path in [
        dir.path(),
        &folder,
        &dir.config_path(),
        &folder.join(TOKEN_KEY),
    ] {
        chown(path, Some(12345), Some(12345)).unwrap();
    }
    relabel(&dir, "by root").unwrap();
    dir.lock()
        .unwrap()
        .write(UUID, &[(CLIENT_KEY, Some(b"new"))])
        .unwrap();
    for path in [
        dir.config_path(),
        dir.path().join(LOCK),
        folder.join(CLIENT_KEY),
    ] {
        assert_eq!(
            fs::metadata(&path).unwrap().uid(),
            12345,
            "{}",
            path.display()
        );
    }
    chown(dir.config_path(), Some(54321), None).unwrap();
    assert!(message(dir.load()).contains("chown -R 12345 "));
}

#[test]
fn a_second_writer_waits_and_says_for_whom() {
    let (_tmp, dir) = with_token();
    let writer = dir.lock().unwrap();
    let hasty = dir.clone().with_patience(Duration::from_millis(50));
    let e = message(hasty.update(|_| Ok(())));
    assert!(
        e.contains(&format!("another mrhsm (process {})", std::process::id())),
        "{e}"
    );
    hasty.load().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| relabel(&dir, "second"));
        std::thread::sleep(Duration::from_millis(50));
        drop(writer);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(label(&dir), "second");
}

#[test]
fn a_write_that_fails_or_dies_anywhere_leaves_the_old_or_the_new() {
    let work = |dir: &TokenDir| -> Result<()> {
        relabel(dir, "new")?;
        dir.lock()?.write(
            UUID,
            &[
                (TOKEN_KEY, Some(b"new")),
                (CLIENT_KEY, Some(b"new")),
                (CA_CERT, None),
            ],
        )
    };
    let (_tmp, dir) = with_token();
    let (_, steps) = run(None, || work(&dir).unwrap());
    assert!(steps > 10);
    for at in 0..steps {
        for (end, mend, rv) in [
            (End::Error(libc::ENOSPC), "make room", CKR_DEVICE_MEMORY),
            (
                End::Error(libc::EROFS),
                "read-only",
                CKR_TOKEN_WRITE_PROTECTED,
            ),
            (End::Killed, "", 0),
        ] {
            let (_tmp, dir) = with_token();
            if let (Some(Err(e)), _) = run(Some((at, end)), || work(&dir)) {
                assert!(e.to_string().contains(mend) && e.rv() == rv, "{e:?}");
            }
            assert!(["t", "new"].contains(&label(&dir).as_str()));
            assert!(
                [&b"one"[..], b"new"]
                    .contains(&dir.read(UUID, TOKEN_KEY).unwrap().unwrap().expose())
            );
            drop(dir.lock().unwrap());
            for folder in [dir.path().to_path_buf(), dir.path().join(UUID)] {
                assert!(
                    fs::read_dir(folder).unwrap().all(|e| !e
                        .unwrap()
                        .file_name()
                        .to_string_lossy()
                        .starts_with(TMP))
                );
            }
            work(&dir).unwrap();
            assert!(dir.read(UUID, CA_CERT).unwrap().is_none());
        }
    }
}

#[test]
fn folders_appear_and_go_as_a_whole() {
    let files: [(&str, &[u8]); 2] = [(TOKEN_KEY, b"1"), (CA_CERT, b"2")];
    for at in 0..12 {
        for end in [End::Error(libc::ENOSPC), End::Killed] {
            let (_tmp, dir) = no_dir();
            let folder = dir.path().join(UUID);
            let whole = || {
                !folder.exists() || folder.join(TOKEN_KEY).exists() && folder.join(CA_CERT).exists()
            };
            run(Some((at, end)), || {
                dir.lock().and_then(|w| w.make_folder(UUID, &files)).is_ok()
            });
            assert!(whole(), "step {at}, {end:?}");
            let writer = dir.lock().unwrap();
            assert!(!dir.path().join(format!("{NEW}{UUID}")).exists());
            if !folder.exists() {
                writer.make_folder(UUID, &files).unwrap();
            }
            drop(writer);
            run(Some((at, end)), || {
                dir.lock().and_then(|w| w.remove_folder(UUID)).is_ok()
            });
            assert!(whole(), "step {at}, {end:?}");
            let writer = dir.lock().unwrap();
            writer.remove_folder(UUID).unwrap();
            writer.remove_folder(UUID).unwrap();
            assert_eq!(
                fs::read_dir(dir.path()).unwrap().count(),
                1,
                "only the lock file"
            );
        }
    }
}

#[test]
fn a_folder_is_replaced_as_a_whole_also_where_folders_cannot_be_exchanged() {
    let content = |dir: &TokenDir| {
        let text = dir.read(UUID, TOKEN_KEY).unwrap();
        text.map(|text| text.expose().to_vec())
    };
    let replace = |dir: &TokenDir| {
        dir.lock()?
            .replace_folder(UUID, &[(TOKEN_KEY, b"new")], |folder| {
                fs::write(folder.join("added"), b"x").unwrap();
                Ok(())
            })
    };
    let folder = |dir: &TokenDir| dir.path().join(UUID);
    let names = |dir: &TokenDir| {
        let names = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.map(|n| n.into_string().unwrap()).collect();
        names.sort();
        names
    };
    for at in 0..20 {
        for end in [
            End::Error(libc::ENOSPC),
            End::Error(libc::EINVAL),
            End::Killed,
        ] {
            let (_tmp, dir) = with_token();
            run(Some((at, end)), || replace(&dir).is_ok());
            let now = content(&dir);
            assert!(now == Some(b"one".to_vec()) || now == Some(b"new".to_vec()));
            drop(dir.lock().unwrap());
            assert_eq!(content(&dir), now);
            assert_eq!(names(&dir), [LOCK, UUID, config::FILE_NAME]);
            replace(&dir).unwrap();
            assert_eq!(content(&dir), Some(b"new".to_vec()));
            assert!(folder(&dir).join("added").exists());
            assert!(dir.read(UUID, CA_CERT).unwrap().is_none());
        }
    }
    // Killed where the old one had stepped aside.
    let (_tmp, dir) = with_token();
    fs::rename(folder(&dir), dir.path().join(format!("{OLD}{UUID}"))).unwrap();
    drop(dir.lock().unwrap());
    assert_eq!(content(&dir), Some(b"one".to_vec()));
}

#[test]
fn what_opened_a_removed_folder_is_overwritten_where_no_backup_shares_it() {
    let (tmp, dir) = with_token();
    let folder = dir.path().join(UUID);
    let open = File::open(folder.join(TOKEN_KEY)).unwrap();
    let backup = tmp.path().join("backup");
    let read = |mut file: &File| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    dir.lock().unwrap().remove_folder(UUID).unwrap();
    assert_eq!(read(&open), [0; 3]);

    let files: [(&str, &[u8]); 1] = [(TOKEN_KEY, b"one")];
    dir.lock().unwrap().make_folder(UUID, &files).unwrap();
    fs::hard_link(folder.join(TOKEN_KEY), &backup).unwrap();
    dir.lock().unwrap().remove_folder(UUID).unwrap();
    assert_eq!(fs::read(&backup).unwrap(), b"one");
}

#[test]
fn a_path_under_a_file_is_told() {
    let tmp = tempfile::NamedTempFile::new().unwrap();
    let dir = TokenDir::at(tmp.path().join("tokens"));
    assert!(message(dir.update(|_| Ok(()))).contains("not a directory"));
    assert!(dir.load().is_err());
}

#[test]
fn a_place_that_takes_no_files_is_told() {
    let e = message(TokenDir::at("/proc/self/tokens").update(|_| Ok(())));
    assert!(e.starts_with("cannot write /proc/self/tokens"), "{e}");
}

#[test]
fn paths_in_commands_are_quoted() {
    assert_eq!(shell(Path::new("/opt/mapr/conf")), "/opt/mapr/conf");
    assert_eq!(shell(Path::new("/a b/it's")), r"'/a b/it'\''s'");
}
