//! A token directory of its own, the built `mrhsm` command, certificates, and a terminal.

#![allow(
    unsafe_code,
    reason = "a terminal for a child process needs openpty, setsid and TIOCSCTTY"
)]

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::ptr::null_mut;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// The SO PIN of every token here.
pub const SO_PIN: &str = "so-1234";
/// No command takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// Ended with this code, saying this on stderr.
    #[track_caller]
    pub fn failed(self, code: i32, sentence: &str) -> Run {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(
            self.err.contains(sentence),
            "'{sentence}' is not in {self:#?}"
        );
        self
    }

    /// The same, before anything was done.
    #[track_caller]
    pub fn refused(self, code: i32, sentence: &str) -> Run {
        assert_eq!(
            self.out, "",
            "a refused command prints no result: {self:#?}"
        );
        self.failed(code, sentence)
    }

    /// Succeeded.
    #[track_caller]
    pub fn done(self) -> Run {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    /// Its result, as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// A directory for one test: `tokens` is the token directory, `conf` the cluster's, the rest is the test's own.
pub struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("conf")).unwrap();
        let home = Home { dir };
        home.write("so.pin", SO_PIN.as_bytes(), 0o600);
        home
    }

    /// One with the token "demo" in it.
    pub fn with_token() -> Home {
        let home = Home::new();
        home.mrhsm(["init", "-label", "demo"]).done();
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The path as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_string()
    }

    pub fn write(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// The command, with the SO PIN in a file and no terminal.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mrhsm"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("MRHSM_TOKEN_DIR", self.path("tokens"))
            .env("MRHSM_SO_PIN_FILE", self.path("so.pin"))
            .env("MAPR_HOME", self.dir.path())
            .current_dir(self.dir.path());
        command
    }

    /// The command on a disk without room: the kernel refuses every byte it writes to a file.
    pub fn without_room(mut command: Command) -> Command {
        // SAFETY: setrlimit and signal are async-signal-safe, and the limit lives until the call returns.
        unsafe {
            command.pre_exec(|| {
                let none = libc::rlimit {
                    rlim_cur: 0,
                    rlim_max: 0,
                };
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                match libc::setrlimit(libc::RLIMIT_FSIZE, &none) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        command
    }

    /// The command in a token directory that nobody may write to, not even root.
    pub fn read_only(&self, mut command: Command) -> Run {
        const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
        // SAFETY: prctl is async-signal-safe and touches no memory. Without privileges it fails, and there is nothing to give up.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0);
                Ok(())
            });
        }
        let tokens = self.path("tokens");
        let folders: Vec<_> = self
            .snapshot()
            .into_keys()
            .filter(|path| path.is_dir() && path.starts_with(&tokens))
            .collect();
        let close = |mode| {
            folders
                .iter()
                .for_each(|f| fs::set_permissions(f, fs::Permissions::from_mode(mode)).unwrap())
        };
        close(0o500);
        let run = run(command);
        close(0o700);
        run
    }

    pub fn mrhsm<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        run(self.command(args))
    }

    /// Every file and folder with mode and content. Two files are left out, which no command sets: who wrote last, and how
    /// often a PIN was tried.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut all = BTreeMap::new();
        let mut todo = vec![self.dir.path().to_path_buf()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                if meta.is_dir() {
                    todo.push(path.clone());
                }
                if ![".lock", "attempts"]
                    .map(OsStr::new)
                    .contains(&path.file_name().unwrap())
                {
                    let content = if meta.is_file() {
                        read_any(&path)
                    } else {
                        Vec::new()
                    };
                    all.insert(path, (meta.mode(), content));
                }
            }
        }
        all
    }

    /// Runs a command that must fail and must change nothing.
    #[track_caller]
    pub fn refuses<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        code: i32,
        sentence: &str,
    ) -> Run {
        let run = self.refuses_after_output(args, code, sentence);
        assert_eq!(run.out, "", "a refused command prints no result: {run:#?}");
        run
    }

    /// The same for a command that tells what it does while it does it.
    #[track_caller]
    pub fn refuses_after_output<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        code: i32,
        sentence: &str,
    ) -> Run {
        let before = self.snapshot();
        let run = self.mrhsm(args).failed(code, sentence);
        let after = self.snapshot();
        let changed: Vec<_> = before
            .iter()
            .filter(|(k, v)| after.get(*k) != Some(*v))
            .map(|(k, _)| k)
            .collect();
        let added: Vec<_> = after
            .keys()
            .filter(|k| !before.contains_key(*k) && !k.ends_with("tokens"))
            .collect();
        assert!(
            changed.is_empty() && added.is_empty(),
            "changed: {changed:?}, added: {added:?}"
        );
        run
    }
}

/// The content of a file, even one that its owner may not read.
fn read_any(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}

/// Runs a command in a session of its own, so that it finds no terminal.
pub fn run(mut command: Command) -> Run {
    // SAFETY: setsid is async-signal-safe and touches no memory.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    command.stdin(Stdio::null());
    let output = assert_cmd::Command::from_std(command)
        .timeout(PATIENCE)
        .output()
        .unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A certificate authority and the client certificates it signs.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, both PEM; `years` is the first year of validity and the first after.
    pub fn client(&self, name: &str, years: (i32, i32)) -> (String, String) {
        self.sign(name, |params| {
            params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
            params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        })
    }

    /// A certificate that expires in so many days and a half, and its key.
    pub fn client_for_days(&self, name: &str, days: u64) -> (String, String) {
        self.sign(name, |params| {
            params.not_after =
                (SystemTime::now() + Duration::from_secs(days * 86_400 + 43_200)).into()
        })
    }

    fn sign(&self, name: &str, dates: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        dates(&mut params);
        let key = KeyPair::generate().unwrap();
        (
            params.signed_by(&key, &self.0).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    /// Writes `ca.pem`, `client.pem` and `client.key` into `home`.
    pub fn issue_to(&self, home: &Home) {
        let (certificate, key) = self.client("client", (2020, 2099));
        home.write("ca.pem", self.pem().as_bytes(), 0o644);
        home.write("client.pem", certificate.as_bytes(), 0o644);
        home.write("client.key", key.as_bytes(), 0o600);
    }
}

/// Runs `check` for every item, eight at a time: commands mostly wait.
pub fn for_each<T: Send>(items: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    let queue = Mutex::new(items.into_iter().collect::<VecDeque<_>>());
    let next = || queue.lock().unwrap().pop_front();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(item) = next() {
                    check(item);
                }
            });
        }
    });
}

/// A port that accepts connections and never says anything.
pub fn silent_host() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port that nobody listens on.
pub fn closed_port() -> u16 {
    silent_host().1
}

/// A command at a terminal of its own.
pub struct Terminal {
    child: Child,
    /// Our end.
    master: File,
    /// The command's end, held open to look at its settings.
    slave: OwnedFd,
    seen: String,
}

impl Terminal {
    pub fn new(mut command: Command) -> Terminal {
        let (mut master, mut slave) = (0, 0);
        // SAFETY: openpty writes two descriptors into the two integers; name, settings and size may be NULL.
        let (master, slave) = unsafe {
            assert_eq!(
                libc::openpty(&mut master, &mut slave, null_mut(), null_mut(), null_mut()),
                0
            );
            (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
        };
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        let raw = slave.as_raw_fd();
        // SAFETY: setsid, ioctl and fcntl are async-signal-safe; the descriptors are open in the child.
        unsafe {
            libc::fcntl(master.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC);
            libc::fcntl(master.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
            command.pre_exec(move || {
                libc::setsid();
                match libc::ioctl(raw, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        Terminal {
            child: command.spawn().unwrap(),
            master,
            slave,
            seen: String::new(),
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 1024];
        match self.master.read(&mut buffer) {
            Ok(n) => self.seen.push_str(&String::from_utf8_lossy(&buffer[..n])),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5))
            }
            // EIO: the other end is closed.
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }

    /// Waits until the text was shown, and forgets what was shown up to its end.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "waited for '{text}', saw '{}'",
                self.seen
            );
            self.read();
        }
    }

    /// Types.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until echo is off: the command is reading a PIN.
    pub fn expect_no_echo(&mut self) {
        let start = Instant::now();
        while self.echoes() {
            assert!(
                start.elapsed() < PATIENCE,
                "the terminal still echoes: '{}'",
                self.seen
            );
            self.read();
        }
    }

    /// Whether the terminal echoes what is typed.
    pub fn echoes(&self) -> bool {
        // SAFETY: termios is plain data, and tcgetattr fills it.
        unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(self.slave.as_raw_fd(), &mut settings), 0);
            settings.c_lflag & libc::ECHO != 0
        }
    }

    /// Waits for the end: the exit code and what was shown since the last `expect`.
    pub fn end(&mut self) -> (i32, String) {
        let start = Instant::now();
        loop {
            self.read();
            if let Some(status) = self.child.try_wait().unwrap() {
                self.read();
                return (status.code().unwrap_or(-1), self.seen.clone());
            }
            assert!(
                start.elapsed() < PATIENCE,
                "the command does not end; saw '{}'",
                self.seen
            );
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
