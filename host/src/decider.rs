//! What decides and evolves: one trait, so that the state machine knows no Wasm. Only this folder names Wasmtime.

mod budget;
mod cache;
pub mod describe;
pub mod gate;
mod guest;
#[cfg(test)]
mod hostile;
pub mod instance;
pub mod limits;
mod logs;
pub mod module;
pub mod modules;
pub mod native;
pub mod refused;
pub mod sandbox;
pub mod schemas;
pub mod seal;
pub mod self_check;
mod shape;
#[cfg(test)]
pub mod testing;
mod text;
mod ticks;

use ordain_sdk::contract::Context;

pub use instance::Instance;
pub use limits::Limits;
pub use module::Module;
pub use refused::{Refused, Rule};
pub use sandbox::{NoSandbox, Sandbox};

use crate::message::FailureReason;

/// Where an aggregate's decoded state lives inside a decider. Chosen by the caller; small and reused.
pub type Slot = u32;

/// What the rules answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes; `out` holds `count` events as frames, and the slot has folded them.
    Accepted {
        /// Number of events.
        count: u32,
    },
    /// No; `out` holds the rejection as MessagePack. The slot is unchanged.
    Rejected,
    /// The command does not decode; the text says why. The slot is unchanged.
    Unreadable(String),
}

/// How a snapshot is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For the host: compact, readable only under the same state version.
    Compact,
    /// For people: with field names.
    Named,
}

/// A decider did not do what it must. The slot it happened in is unusable until it is loaded anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What to call it in the outcome.
    pub reason: FailureReason,
    /// What happened, for people: the panic's text if there is one.
    pub message: String,
    /// The whole decider is unusable and must be replaced by a fresh one: every slot is gone.
    pub instance_lost: bool,
}

/// The pair decide + evolve of one aggregate type, with decoded states resident in slots.
///
/// Obligations: deterministic (same slot state, context and command give the same bytes); a slot is touched by nothing
/// but the calls that name it; whatever it returns is checked before it is believed.
pub trait Decider: Send {
    /// Puts a state into a slot: a compact snapshot, or the default state if `snapshot` is empty.
    ///
    /// # Errors
    /// [`Fault`] if the snapshot does not decode or the decider fails.
    fn load(&mut self, slot: Slot, snapshot: &[u8]) -> Result<(), Fault>;

    /// Decides one command on a slot; if accepted, the slot has evolved by the events. `out` is cleared first.
    ///
    /// # Errors
    /// [`Fault`] if the decider traps, exceeds a limit, or answers garbage.
    fn decide(
        &mut self,
        slot: Slot,
        context: &Context<'_>,
        command: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Verdict, Fault>;

    /// Evolves a slot by committed events given as frames.
    ///
    /// # Errors
    /// [`Fault`] if an event does not decode or the decider fails; a part may have been folded.
    fn fold(&mut self, slot: Slot, events: &[u8]) -> Result<(), Fault>;

    /// Writes the state of a slot to `out`, which is cleared first.
    ///
    /// # Errors
    /// [`Fault`] if the slot is empty or the decider fails.
    fn snapshot(&mut self, slot: Slot, form: Form, out: &mut Vec<u8>) -> Result<(), Fault>;

    /// Empties a slot. Never fails: a decider that cannot is found out at its next call.
    fn release(&mut self, slot: Slot);

    /// Bytes of memory it holds now: when to evict states, when to start a fresh one.
    fn memory_bytes(&self) -> usize {
        0
    }
}

/// The rules of one aggregate type in one version: makes deciders.
pub trait Rules: Send + Sync {
    /// The module's identity.
    fn digest(&self) -> crate::message::Digest;

    /// Names the layout of its compact snapshots and the meaning of its `evolve`: a snapshot of another tag is not loaded.
    fn state_tag(&self) -> u64;

    /// A fresh decider with empty slots.
    ///
    /// # Errors
    /// [`Fault`] if the module cannot be started.
    fn instantiate(&self) -> Result<Box<dyn Decider>, Fault>;
}

/// Which rules are active now.
pub trait RuleBook: Send + Sync {
    /// The active rules of a type; `None` if there are none.
    fn active(&self, aggregate_type: &str) -> Option<std::sync::Arc<dyn Rules>>;

    /// The types that have rules.
    fn types(&self) -> Vec<String>;
}
