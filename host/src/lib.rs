//! Ordain hosts business rules as WebAssembly modules and runs the event-sourcing loop around them.
//!
//! The map, in reading order:
//! - [`message`]: the words of the system as types.
//! - [`log`]: where answered commands live.
//! - [`decider`]: what decides and evolves.
//! - [`engine`]: what the ways in see of the running system.
//! - [`clock`], [`json`]: small tools that the rest stands on.

pub mod clock;
pub mod decider;
pub mod engine;
pub mod history;
pub mod json;
pub mod lane;
pub mod log;
pub mod message;
pub mod state_machine;
pub mod store;
