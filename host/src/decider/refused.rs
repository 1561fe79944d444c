//! Why a module is not taken into service.

use serde::Serialize;

/// A module was refused; the one that was active goes on. The message says what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Which rule it broke.
    pub rule: Rule,
    /// What is wrong with it and what to do, for people.
    pub message: String,
}

impl Refused {
    /// A refusal by `rule`.
    pub fn new(rule: Rule, message: impl Into<String>) -> Self {
        Self { rule, message: message.into() }
    }
}

/// The rules a module must pass, in the order in which they are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The file is no regular one, or could not be read.
    File,
    /// It is larger than `limits.module_bytes_max`.
    Size,
    /// It is no valid core Wasm module.
    Invalid,
    /// It uses a feature of Wasm that is switched off here.
    Feature,
    /// It imports something.
    Imports,
    /// An export of the contract is missing or has another type.
    Exports,
    /// It has not exactly one memory that starts within the limit.
    Memory,
    /// Its tables are larger than the limit.
    Tables,
    /// Its code is of a size or form that costs too much to compile.
    Code,
    /// It has a start function.
    Start,
    /// It was built for another contract, or for none.
    Contract,
    /// Its schemas are unreadable.
    Schemas,
    /// It does not compile, or what was compiled does not start.
    Compile,
    /// It does not describe itself, or describes something that cannot be.
    Describe,
    /// Its state changed and its state version did not.
    StateVersion,
    /// Two instances of it disagree.
    Disagrees,
    /// It cannot read its own events, snapshots or samples.
    OwnWords,
    /// It cannot read what is in the log.
    History,
    /// The log has no place for its type.
    Log,
    /// It came before the module that is active.
    Outdated,
    /// It is good, but could not be stored.
    Store,
}
