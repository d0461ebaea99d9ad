//! What a request and a client may take of the server: work, memory and disk.
//!
//! Work is counted, not timed, so that the same request costs the same on every machine. A unit is about what hashing 64 bytes
//! takes. An operation charges its [`Meter`] before it begins, and fails when that exceeds what a request may cost.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::clients::{Clients, Heavy};
use super::keys::Material;
use super::marks::encoded;
use super::objects::{Object, Outcome, Refusal, Value, reason};
use crate::crypto::pkey::Kind;
use crate::kmip::{Attributes, ResultReason};
use crate::version::Version;

/// What one request, one client and one object may take.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    /// Work of one request, in units.
    pub work: u64,
    /// Length of an answer beyond which no further item is done, in bytes.
    pub answer: usize,
    /// What one request writes to the disk, in bytes.
    pub written: u64,
    /// Requests of one client that are answered at once; others wait.
    pub requests: usize,
    /// Operations in parts that one client has at once.
    pub streams: usize,
    /// What the operations in parts of one client hold in memory, in bytes.
    pub stream_bytes: usize,
    /// Attributes of an object.
    pub attributes: usize,
    /// What is kept of an object beside its value, in bytes.
    pub attribute_bytes: usize,
    /// Objects of one owner, destroyed ones included.
    pub objects: usize,
    /// What the objects of one owner take on the disk, in bytes.
    pub bytes: u64,
}

impl Default for Quotas {
    fn default() -> Quotas {
        Quotas {
            work: 16_000_000,
            answer: 16 << 20,
            written: 64 << 20,
            requests: 16,
            streams: 64,
            stream_bytes: 64 << 20,
            attributes: MOST_ATTRIBUTES,
            attribute_bytes: 256 << 10,
            objects: 1_000_000,
            bytes: 1 << 30,
        }
    }
}

/// A list of a request, such as filters, certificates or templates, has no more items than this.
pub const MOST_LISTED: usize = 256;

/// Attributes of an object, and of a request that makes one.
pub const MOST_ATTRIBUTES: usize = 1024;

/// Objects that one item works on have no more bytes together than this.
pub const MOST_MATERIAL: usize = 4 << 20;

/// What every item of a request costs.
pub const ITEM: u64 = 50;
/// What it costs to look at an object that is searched.
pub const LOOK: u64 = 15;
/// A request that cost more than this waits until few others like it are under way.
const HEAVY: u64 = 200_000;
/// After so much work it is asked whether the client is still there.
const STEP: u64 = 500_000;

/// Hashing, encrypting or copying so many bytes.
pub fn of_bytes(len: usize) -> u64 {
    len as u64 / 64 + 1
}

/// An operation with a private key.
pub fn of_private(kind: Kind) -> u64 {
    match kind {
        Kind::Rsa { bits } => 600 * power(bits, 3),
        Kind::Ec(_) => 1500,
    }
}

/// An operation with a public key.
pub fn of_public(kind: Kind) -> u64 {
    match kind {
        Kind::Rsa { bits } => 100 * power(bits, 2),
        Kind::Ec(_) => 1500,
    }
}

/// Making an RSA key.
pub fn of_rsa_key(bits: u32) -> u64 {
    60_000 * power(bits, 4)
}

/// A power of the length of a number, in 1024 bits.
fn power(bits: u32, exponent: u32) -> u64 {
    u64::from(bits.div_ceil(1024)).pow(exponent)
}

/// Showing an object with all that is computed of it.
pub fn of_object(object: &Object) -> u64 {
    let value = match &object.value {
        // A pair's key is read and checked: that takes more than its bytes.
        Value::Key(Material::Private(der) | Material::Public(der), _) => der.len() as u64,
        Value::Key(material, _)
        | Value::Secret(_, material, _)
        | Value::Opaque(_, material)
        | Value::Pgp(_, material)
        | Value::Split(_, material) => of_bytes(material.bytes().len()),
        Value::Certificate(_, der) | Value::Request(_, der) => of_bytes(der.len()),
        Value::Template(attributes) => attributes.len() as u64,
        Value::Elsewhere(_) | Value::Wrapped(_) | Value::Gone => 0,
    };
    let registered = object.registered.as_ref();
    let value = value + registered.map_or(0, |registered| of_bytes(registered.len()));
    LOOK + object.attributes.len() as u64 + value
}

/// How long attributes are, in bytes.
pub fn size(attributes: &Attributes) -> usize {
    attributes.iter().map(|value| encoded(value).len()).sum()
}

/// A limit of this server is reached.
pub fn exceeded(version: Version, text: impl Into<String>) -> Refusal {
    let reason = reason(
        version,
        ResultReason::PERMISSION_DENIED,
        ResultReason::SERVER_LIMIT_EXCEEDED,
    );
    Refusal::item(reason, text)
}

/// Whether the client of a connection has gone away.
pub type Gone = Rc<dyn Fn() -> bool>;

/// Counts what a request takes.
pub struct Meter {
    version: Version,
    work: u64,
    written: u64,
    client: String,
    clients: Arc<Clients>,
    gone: Option<Gone>,
    spent: Cell<u64>,
    wrote: Cell<u64>,
    left: Cell<bool>,
    heavy: RefCell<Option<Heavy>>,
}

impl Meter {
    /// Nothing is spent yet.
    pub fn new(
        version: Version,
        quotas: &Quotas,
        client: &str,
        clients: &Arc<Clients>,
        gone: Option<Gone>,
    ) -> Meter {
        Meter {
            version,
            work: quotas.work,
            written: quotas.written,
            client: client.to_owned(),
            clients: clients.clone(),
            gone,
            spent: Cell::new(0),
            wrote: Cell::new(0),
            left: Cell::new(false),
            heavy: RefCell::new(None),
        }
    }

    /// What was spent.
    pub fn spent(&self) -> u64 {
        self.spent.get()
    }

    /// Takes work from what the request may cost; fails, and takes nothing, when so much is not left. May wait for other
    /// requests: not to be called while objects are changed.
    pub fn charge(&self, units: u64) -> Outcome<()> {
        let spent = self.spent.get().saturating_add(units);
        if spent > self.work {
            return Err(self.too_much());
        }
        self.go_on(spent)
    }

    /// The same for work that cannot be divided, such as making a key: it begins while half of the budget is left, whatever it
    /// costs.
    pub fn charge_whole(&self, units: u64) -> Outcome<()> {
        if self.spent.get() > self.work / 2 {
            return Err(self.too_much());
        }
        self.go_on(self.spent.get().saturating_add(units))
    }

    /// Takes work that is done already, or all that is left.
    pub fn note(&self, units: u64) {
        let spent = self.spent.get();
        let all = spent.saturating_add(units).min(self.work);
        self.spent.set(all.max(spent));
    }

    fn go_on(&self, spent: u64) -> Outcome<()> {
        let steps = spent / STEP > self.spent.get() / STEP;
        self.spent.set(spent);
        if spent > HEAVY && self.heavy.borrow().is_none() {
            let heavy = self.clients.heavy(&self.client, || self.is_gone());
            *self.heavy.borrow_mut() = heavy;
        }
        if (steps && self.is_gone()) || self.left.get() {
            return Err(Refusal::item(
                ResultReason::OPERATION_CANCELED_BY_REQUESTER,
                "the client is gone",
            ));
        }
        Ok(())
    }

    /// True when the client is gone: between items it is always asked.
    pub fn is_abandoned(&self) -> bool {
        self.is_gone()
    }

    fn is_gone(&self) -> bool {
        if !self.left.get() && self.gone.as_ref().is_some_and(|gone| gone()) {
            self.left.set(true);
        }
        self.left.get()
    }

    fn too_much(&self) -> Refusal {
        exceeded(
            self.version,
            "the request takes more work than one request may: ask for less at once",
        )
    }

    /// Takes bytes from what the request may write.
    pub fn write(&self, bytes: u64) -> Outcome<()> {
        let wrote = self.wrote.get().saturating_add(bytes);
        if wrote > self.written {
            return Err(exceeded(
                self.version,
                "the request writes more than one request may",
            ));
        }
        self.wrote.set(wrote);
        Ok(())
    }
}
