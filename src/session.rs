//! A session: its rights and the operations that are active in it.
