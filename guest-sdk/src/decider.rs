//! The one trait a module implements.

use crate::contract::Context;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// Business rules of one aggregate type: which events a command leads to, and what an event does to the state.
///
/// The implementor *is* the state of one aggregate; [`Default`] is the state of one that never existed. The name and
/// the split in two come from Jérémie Chassaing's "decider" pattern.
///
/// Both functions are pure: the same state, command and context give the same answer on every machine and for ever,
/// because events are folded again after a restart and old decisions are re-run to explain them. There is no clock and
/// no randomness in a module (what a decision may know is in [`Context`]), and a `HashMap` must not be iterated, since
/// its order differs from one instance to the next. A panic, an arithmetic overflow included, fails that one command
/// and nothing else.
///
/// Commands, events and rejections are enums in serde's default form, with struct variants, also for empty ones:
/// `Close {}` reads `{"Close":{}}`. Events stay in the log for ever: give a new field `#[serde(default)]` and never
/// change what an old one means.
pub trait Decider: Default + Serialize + DeserializeOwned + JsonSchema + 'static {
    /// Name of the aggregate type: `[a-z][a-z0-9-]{0,62}`. It is part of every address, so it can never change.
    const TYPE: &'static str;
    /// Version of the state's layout and of what `evolve` does: raise it whenever one of them changes, and states are
    /// built anew from the events instead of being carried over from a snapshot.
    const STATE_VERSION: u32 = 1;

    /// What can be asked.
    type Command: Serialize + DeserializeOwned + JsonSchema;
    /// What can happen.
    type Event: Serialize + DeserializeOwned + JsonSchema;
    /// Why a command can be refused. The variant's name is the code that clients see, its fields are the details.
    type Rejection: Serialize + JsonSchema;

    /// The events that `command` leads to: all of them are recorded, or none. No events means accepted, with nothing
    /// to do.
    ///
    /// # Errors
    /// The rules say no: the rejection is recorded as the command's outcome and the state stays as it is.
    fn decide(&self, command: Self::Command, context: &Context) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// Applies what has happened. It cannot refuse: an event is a fact.
    fn evolve(&mut self, event: Self::Event);

    /// A few typical commands. Before a module is taken into service two instances of it decide them and must agree.
    fn samples() -> Vec<Self::Command> {
        Vec::new()
    }
}

impl Context<'_> {
    /// The caller's metadata as a type of the author's, usually a struct with `#[serde(default)]` fields; `None` if
    /// there is none or it does not fit.
    pub fn metadata_as<T: DeserializeOwned>(&self) -> Option<T> {
        crate::codec::decode(self.metadata).ok()
    }
}
