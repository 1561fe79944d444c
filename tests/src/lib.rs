//! The outside of a daemon: a process to start and kill, a client to drive it, and a record of what was seen.
//!
//! Used by the end-to-end tests, the demo and the torture runs. Configuration is passed by flags, ports are chosen by
//! the system, processes end with the value that started them.

pub mod bulk;
pub mod client;
pub mod clock;
pub mod command;
pub mod daemon;
pub mod figures;
pub mod stage;
pub mod witness;
