//! The module over a store in memory.
