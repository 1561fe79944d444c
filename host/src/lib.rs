//! Ordain hosts business rules as WebAssembly modules and runs the event-sourcing loop around them.
//!
//! The map, in reading order:
//! - [`message`]: the words of the system as types.
//! - [`log`]: where answered commands live.
//! - [`store`]: a cache of the log: states, command ids, progress.
//! - [`decider`]: what decides and evolves.

pub mod decider;
pub mod json;
pub mod log;
pub mod message;
pub mod store;
