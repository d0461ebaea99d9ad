//! Connections, which threads take one at a time.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use mrhsm_pkcs11::ck::CKR_DEVICE_ERROR;
use mrhsm_pkcs11::cli::Postgres as Settings;
use mrhsm_pkcs11::error::{Error, Kind, Result};
use mrhsm_pkcs11::log;
use tokio::runtime::{Builder, Handle};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, Statement};

use super::tls::Connector;
use super::{failed, late};

/// How many connections there are at most.
const MOST: usize = 16;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Longer statements, and transactions that do nothing for longer, are ended by PostgreSQL.
const OPTIONS: &str = "-c statement_timeout=8000 -c idle_in_transaction_session_timeout=10000";

/// A connection, with the statements that were prepared on it.
pub struct Connection {
    pub client: Arc<Client>,
    handle: Handle,
    prepared: Mutex<HashMap<String, Statement>>,
    /// An answer is outstanding that no thread waits for.
    is_given_up: AtomicBool,
}

/// Connections to one database.
pub struct Pool {
    config: Config,
    connector: Connector,
    handle: Handle,
    idle: Mutex<Idle>,
    returned: Condvar,
}

#[derive(Default)]
struct Idle {
    connections: Vec<Connection>,
    /// How many there are, in use or not.
    all: usize,
}

impl Pool {
    /// Connects nowhere yet.
    pub fn new(settings: &Settings) -> Result<Pool> {
        let refused = |message: String| Error::input(format!("-store: {message}"));
        let mut config: Config = settings
            .url
            .parse()
            .map_err(|e: tokio_postgres::Error| refused(failed(&e).to_string()))?;
        if config.get_password().is_some() {
            let message =
                "a password in the address is shown to other users: give it with -storepassword";
            return Err(refused(message.into()));
        }
        if let Some(password) = &settings.password {
            config.password(password.expose());
        }
        let is_local = |host: &Host| matches!(host, Host::Unix(_));
        // Encrypted, unless the address says otherwise or the database is on this machine.
        if config.get_ssl_mode() == SslMode::Prefer {
            config.ssl_mode(match config.get_hosts().iter().all(is_local) {
                true => SslMode::Disable,
                false => SslMode::Require,
            });
        }
        config
            .application_name("mrhsm serve")
            .connect_timeout(CONNECT)
            .keepalives_idle(Duration::from_secs(30))
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .options(OPTIONS);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::file("no runtime for PostgreSQL", e))?;
        let handle = runtime.handle().clone();
        // It moves the bytes of all connections.
        thread::Builder::new()
            .name("postgres".into())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .map_err(|e| Error::file("no thread for PostgreSQL", e))?;
        Ok(Pool {
            config,
            connector: Connector::new(settings.ca.as_deref())?,
            handle,
            idle: Mutex::default(),
            returned: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for this thread alone.
    pub fn take(&self, until: Instant) -> Result<Connection> {
        let mut idle = self.lock();
        loop {
            while let Some(connection) = idle.connections.pop() {
                if !connection.client.is_closed() {
                    return Ok(connection);
                }
                idle.all -= 1;
            }
            if idle.all < MOST {
                idle.all += 1;
                drop(idle);
                return self.connect(until).inspect_err(|_| self.lock().all -= 1);
            }
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err(late());
            }
            idle = self
                .returned
                .wait_timeout(idle, rest)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Gives a connection back.
    pub fn give(&self, connection: Connection) {
        let mut idle = self.lock();
        match connection.client.is_closed() || connection.is_given_up.load(Ordering::Relaxed) {
            true => idle.all -= 1,
            false => idle.connections.push(connection),
        }
        drop(idle);
        self.returned.notify_one();
    }

    fn connect(&self, until: Instant) -> Result<Connection> {
        let connecting = self.config.connect(self.connector.clone());
        let (client, connection) =
            wait(&self.handle, until, connecting)?.map_err(|e| unreachable(&e))?;
        self.handle.spawn(async move {
            if let Err(e) = connection.await {
                log!(Warn, "{}", failed(&e));
            }
        });
        let connection = Connection {
            client: Arc::new(client),
            handle: self.handle.clone(),
            prepared: Mutex::default(),
            is_given_up: AtomicBool::new(false),
        };
        // What is confirmed must be on the disk, whatever the database's default.
        let durable = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";
        let set = connection.client.batch_execute(durable);
        connection.wait(until, set)?.map_err(|e| failed(&e))?;
        Ok(connection)
    }
}

/// Why a database cannot be used, for people.
fn unreachable(e: &tokio_postgres::Error) -> Error {
    let mut reasons = vec![failed(e).to_string()];
    let mut source = std::error::Error::source(e);
    while let Some(e) = source {
        let reason = e.to_string();
        if !reasons.iter().any(|known| known.contains(&reason)) {
            reasons.push(reason);
        }
        source = e.source();
    }
    let message = format!("the database is not reached: {}", reasons.join(": "));
    Error::new(Kind::File, CKR_DEVICE_ERROR, message)
}

/// Waits for what the runtime does, until the deadline.
fn wait<T>(handle: &Handle, until: Instant, work: impl Future<Output = T>) -> Result<T> {
    let rest = until.saturating_duration_since(Instant::now());
    handle
        .block_on(async { tokio::time::timeout(rest, work).await })
        .map_err(|_| late())
}

impl Connection {
    /// Has the connection closed when it is given back.
    pub fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Waits for an answer, until the deadline.
    pub fn wait<T>(&self, until: Instant, work: impl Future<Output = T>) -> Result<T> {
        wait(&self.handle, until, work)
    }

    /// Sends a statement without waiting for its answer. Later statements are executed after it.
    pub fn send(&self, statement: &str) {
        let mut work = pin!(self.client.batch_execute(statement));
        // The first poll sends it.
        let _ = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    /// A statement, prepared once.
    pub async fn prepared(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements().insert(sql.into(), statement.clone());
        Ok(statement)
    }

    fn statements(&self) -> MutexGuard<'_, HashMap<String, Statement>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
