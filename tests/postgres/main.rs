//! The embedded server on PostgreSQL: the suites of one server, and what only several show. `scripts/test postgres` starts a
//! database and runs it.

#[path = "../audit.rs"]
mod audit;
#[path = "../clients.rs"]
mod clients;
#[path = "../durable.rs"]
mod durable;
mod failures;
mod round_trips;
#[path = "../serve.rs"]
mod serve;
mod several;
