//! The embedded KMIP server, on a repository of objects: for laptops, edge nodes, and on PostgreSQL for more.
//!
//! `engine` answers messages, the operations are in files by kind, `objects` keeps what they make, `life` knows states and
//! dates, `listen` is the network. A [`Personality`] makes it behave like other servers do, which the tests of the client side
//! need; the command always starts the `standard` one.

mod access;
mod addresses;
mod attributes;
mod audit;
mod budget;
mod certify;
mod certs;
mod clients;
mod computed;
mod context;
mod crl;
mod crypto;
mod derive;
mod dispatch;
mod engine;
mod fault;
mod get;
mod home;
mod identity;
mod issued;
mod keys;
mod life;
mod lifecycle;
mod listen;
mod locate;
mod lock;
mod make;
mod marks;
mod mistakes;
mod object;
mod objects;
mod pair;
mod pending;
mod personality;
mod pkcs12;
mod places;
mod protection;
mod query;
mod repeats;
mod split;
mod template;
mod undo;
mod units;
mod validate;
mod wording;
mod wrapping;

pub use access::{Access, Allowed, Credentials};
pub use audit::{Audit, Findings, Keeping, verify};
pub use budget::{Gone, Quotas};
pub use certs::{Authority, Certified, Standing, Wanted, Which, hosts};
pub use engine::{Answer, Caller, Done, Engine};
pub use fault::{Exchange, Fault, Hook};
pub use home::{Home, default_home};
pub use issued::{Issued, Reason};
pub use keys::Material;
pub use listen::{Limits, Options, Server};
pub use mistakes::Mistake;
pub use objects::{Object, Objects, Share, Value};
pub use personality::{Ids, Locating, Personality, Policy};
