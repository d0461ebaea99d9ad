//! Finding, making and electing the key of a role on the store.
