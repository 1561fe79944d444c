//! Ordain hosts business rules as WebAssembly modules and runs the event-sourcing loop around them.
//!
//! The map, in reading order:
//! - [`message`]: the words of the system as types.
//! - [`log`]: where answered commands live.
//! - [`store`]: a cache of the log: states, command ids, progress.
//! - [`decider`]: what decides and evolves.
//! - [`engine`]: what the ways in see of the running system.
//! - [`gateway`]: the way in over HTTP, and its client.
//! - [`config`], [`telemetry`]: what is set, and what is said.
//! - [`cli`]: the command line.
//! - [`outcome`]: what every way out says of an answered command.
//! - [`background`], [`clock`], [`json`]: small tools that the rest stands on.

pub mod app;
pub mod background;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decider;
pub mod engine;
pub mod gateway;
pub mod history;
pub mod json;
pub mod lane;
pub mod log;
pub mod message;
pub mod outcome;
pub mod state_machine;
pub mod store;
pub mod telemetry;
