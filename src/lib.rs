//! mrhsm makes any KMIP key manager usable as an HSM.
//!
//! `libmrhsm_pkcs11.so` is a PKCS#11 module whose tokens are groups of KMIP hosts; the `mrhsm` command sets them up.
//! The modules are floors: a file imports only from floors below its own (`scripts/check-floors`), see
//! `docs/ARCHITECTURE.md`.

// Floor 0: no I/O, no logic of PKCS#11 or KMIP.
#[macro_use]
mod hidden;
pub mod ck;
pub mod deadline;
mod descriptor;
pub mod env;
pub mod error;
pub mod expiry;
mod fault;
pub mod fork;
pub mod log;
pub mod secret;
pub mod version;

// Floor 1: formats.
pub mod config;
pub mod ttlv;

// Floor 2: KMIP vocabulary; local algorithms.
pub mod crypto;
pub mod kmip;

// Floor 3: hosts, TLS, connections; databases.
pub mod net;
pub mod storage;

// Floor 4: keys, whoever holds them.
pub mod store;

// Floor 5: tokens, PINs, templates, the cluster's master keys.
pub mod token;

// Floor 6: mechanisms and operations.
pub mod mech;

// Floor 7: slots and sessions; the embedded KMIP server.
pub mod module;
pub mod server;
pub mod session;

// Floor 8: the edges.
pub mod cli;
pub mod ffi;
pub mod process;
