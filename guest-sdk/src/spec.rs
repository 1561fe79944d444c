//! Given some events, when a command comes, then these events or that rejection: rules tested as sentences, natively.
//!
//! ```
//! # use ordain_sdk::prelude::*;
//! # #[derive(Default, Serialize, Deserialize, JsonSchema)]
//! # struct Tally { total: u64 }
//! # #[derive(Serialize, Deserialize, JsonSchema)]
//! # enum Command { Add { amount: u64 } }
//! # #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
//! # enum Event { Added { amount: u64 } }
//! # #[derive(Debug, PartialEq, Serialize, JsonSchema)]
//! # enum Rejection { TooMuch { total: u64 } }
//! # impl Decider for Tally {
//! #     const TYPE: &'static str = "tally";
//! #     type Command = Command;
//! #     type Event = Event;
//! #     type Rejection = Rejection;
//! #     fn decide(&self, Command::Add { amount }: Command, _: &Context) -> Result<Vec<Event>, Rejection> {
//! #         if self.total + amount > 10 { return Err(Rejection::TooMuch { total: self.total }) }
//! #         Ok(if amount == 0 { vec![] } else { vec![Event::Added { amount }] })
//! #     }
//! #     fn evolve(&mut self, Event::Added { amount }: Event) { self.total += amount; }
//! # }
//! given::<Tally>([Event::Added { amount: 7 }])
//!     .at(1_700_000_000_000)
//!     .id("tally-1")
//!     .when(Command::Add { amount: 3 })
//!     .then([Event::Added { amount: 3 }])
//!     .then_state(|tally| assert_eq!(tally.total, 10))
//!     .when(Command::Add { amount: 1 })
//!     .then_rejected(Rejection::TooMuch { total: 10 })
//!     .when(Command::Add { amount: 0 })
//!     .then_nothing();
//! ```
//!
//! Behind the sentences, everything goes the way it goes in service: each command and event through MessagePack, each
//! state through a snapshot before it is used, and the decision is made twice, on the state that stayed in memory and
//! on the one that was stored. What would not survive fails here. What survives in MessagePack but would not come back
//! unchanged from JSON is named as a warning: it is printed, and [`Then::warnings`] has it.
//!
//! The form is emmett's and cqrs-es's `given`, `when`, `then`.

use crate::codec;
use crate::contract::Context;
use crate::decider::Decider;
use serde::{Serialize, de::DeserializeOwned};
use shape::Shape;
use std::fmt::Debug;

mod shape;
#[cfg(test)]
mod tests;

/// An aggregate with a history, to which a command may come.
#[derive(Debug)]
pub struct Given<D: Decider> {
    /// Never left memory.
    live: D,
    /// Went through a snapshot before every use.
    stored: D,
    version: u64,
    time_ms: i64,
    aggregate_id: String,
    command_id: String,
    correlation_id: String,
    metadata: Vec<u8>,
    warnings: Vec<String>,
}

/// What a command led to.
#[derive(Debug)]
#[must_use = "say what should happen: then, then_nothing or then_rejected"]
pub struct Then<D: Decider> {
    given: Given<D>,
    decision: Result<Vec<D::Event>, D::Rejection>,
}

/// An aggregate to which these events have happened; `given::<Account>([])` for one that never existed.
///
/// # Panics
/// An event does not survive MessagePack, or the state does not survive a snapshot.
#[track_caller]
pub fn given<D: Decider>(events: impl IntoIterator<Item = D::Event>) -> Given<D> {
    let mut given = Given {
        live: D::default(),
        stored: D::default(),
        version: 0,
        time_ms: 0,
        aggregate_id: format!("{}-1", D::TYPE),
        command_id: "command-1".to_owned(),
        correlation_id: String::new(),
        metadata: Vec::new(),
        warnings: Vec::new(),
    };
    for event in events {
        given.evolve(event);
    }
    given
}

impl<D: Decider> Given<D> {
    /// Time of the next command, in milliseconds since 1970-01-01 UTC; 0 if never said.
    pub fn at(mut self, time_ms: i64) -> Self {
        self.time_ms = time_ms;
        self
    }

    /// The aggregate's id; the type's name and `-1` if never said.
    pub fn id(mut self, aggregate_id: impl Into<String>) -> Self {
        self.aggregate_id = aggregate_id.into();
        self
    }

    /// Id of the next command; `command-1` if never said.
    pub fn command_id(mut self, command_id: impl Into<String>) -> Self {
        self.command_id = command_id.into();
        self
    }

    /// Correlation id of the next command; empty if never said.
    pub fn correlation_id(mut self, correlation_id: impl Into<String>) -> Self {
        self.correlation_id = correlation_id.into();
        self
    }

    /// Metadata of the next command: a struct or a map.
    ///
    /// # Panics
    /// It does not serialise.
    #[track_caller]
    pub fn metadata(mut self, metadata: &impl Serialize) -> Self {
        self.metadata = encoded("metadata", metadata);
        self
    }

    /// A command comes.
    ///
    /// # Panics
    /// The command or the state does not survive, or the stored state decides differently.
    #[track_caller]
    pub fn when(mut self, command: D::Command) -> Then<D> {
        let copy = self.survives("command", &command);
        let context = Context {
            time_ms: self.time_ms,
            version: self.version,
            aggregate_id: &self.aggregate_id,
            command_id: &self.command_id,
            correlation_id: &self.correlation_id,
            metadata: &self.metadata,
        };
        let decision = self.live.decide(command, &context);
        let second = self.stored.decide(copy, &context);
        let (in_memory, stored) = (described::<D>(&decision), described::<D>(&second));
        assert!(
            in_memory == stored,
            "a state that was stored and read again decides differently: is a field kept out of serialisation, or is \
             there a HashMap?\nkept in memory: {in_memory}stored and read: {stored}"
        );
        if let Err(rejection) = &decision {
            self.warn("rejection", Shape::of(rejection));
        }
        Then { given: self, decision }
    }

    /// What would not come back unchanged from JSON, so far.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    #[track_caller]
    fn evolve(&mut self, event: D::Event) {
        let copy = self.survives("event", &event);
        self.live.evolve(event);
        self.stored.evolve(copy);
        self.version += 1;
        self.store();
    }

    /// Sends the stored state through a snapshot and holds it against the live one.
    #[track_caller]
    fn store(&mut self) {
        let mut snapshot = Vec::new();
        if let Err(error) = codec::encode_compact(&self.stored, &mut snapshot) {
            panic!("the state does not serialise: {error}");
        }
        self.stored = match codec::decode_compact(&snapshot) {
            Ok(state) => state,
            Err(error) => panic!(
                "the state does not survive a snapshot: {error}. Snapshots are arrays without field names: `flatten`, \
                 `skip_serializing_if` and untagged enums do not work in a state"
            ),
        };
        if let Some(difference) = Shape::of(&self.live).difference(&Shape::of(&self.stored)) {
            panic!("the state comes back from a snapshot as another one:\n{difference}");
        }
        self.warn("state", Shape::of(&self.stored));
    }

    /// Sends a value through MessagePack and holds what comes back against it.
    #[track_caller]
    fn survives<T: Serialize + DeserializeOwned>(&mut self, what: &str, value: &T) -> T {
        let before = Shape::of(value);
        let copy: T = match codec::decode(&encoded(what, value)) {
            Ok(copy) => copy,
            Err(error) => panic!("the {what} does not survive MessagePack: {error}\n{before}"),
        };
        let difference = before.difference(&Shape::of(&copy));
        self.warn(what, before);
        if let Some(difference) = difference {
            panic!("the {what} comes back from MessagePack as another one:\n{difference}");
        }
        copy
    }

    fn warn(&mut self, what: &str, shape: Shape) {
        for loss in shape.json_losses() {
            let warning = format!("{what} {loss} would not come back unchanged from JSON");
            if !self.warnings.contains(&warning) {
                eprintln!("warning: {}: {warning}", D::TYPE);
                self.warnings.push(warning);
            }
        }
    }
}

impl<D: Decider> Then<D> {
    /// What would not come back unchanged from JSON, so far.
    pub fn warnings(&self) -> &[String] {
        &self.given.warnings
    }

    /// The decision itself.
    pub fn decision(&self) -> &Result<Vec<D::Event>, D::Rejection> {
        &self.decision
    }
}

impl<D: Decider> Then<D>
where
    D::Event: PartialEq + Debug,
    D::Rejection: PartialEq + Debug,
{
    /// It is accepted with exactly these events.
    ///
    /// # Panics
    /// It was not, or an event or the state it leads to does not survive.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = D::Event>) -> Given<D> {
        let Self { mut given, decision } = self;
        let expected: Vec<_> = expected.into_iter().collect();
        match decision {
            Ok(events) => {
                assert_eq!(events, expected, "the command led to other events (left) than expected (right)");
                for event in events {
                    given.evolve(event);
                }
                given
            }
            Err(rejection) => panic!("the command was rejected with {rejection:?}, expected were {expected:?}"),
        }
    }

    /// It is accepted and there is nothing to do.
    ///
    /// # Panics
    /// It was rejected or led to events.
    #[track_caller]
    pub fn then_nothing(self) -> Given<D> {
        self.then([])
    }

    /// It is rejected for this reason.
    ///
    /// # Panics
    /// It was accepted or rejected for another reason.
    #[track_caller]
    pub fn then_rejected(self, expected: D::Rejection) -> Given<D> {
        match self.decision {
            Err(rejection) => {
                assert_eq!(rejection, expected, "the command was rejected otherwise (left) than expected (right)");
                self.given
            }
            Ok(events) => panic!("the command was accepted with {events:?}, expected was the rejection {expected:?}"),
        }
    }
}

impl<D: Decider> Given<D> {
    /// Looks at the state as it is now.
    #[track_caller]
    pub fn then_state(self, look: impl FnOnce(&D)) -> Self {
        look(&self.live);
        self
    }
}

#[track_caller]
fn encoded<T: Serialize>(what: &str, value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = codec::encode_named(value, &mut bytes) {
        panic!("the {what} does not serialise: {error}");
    }
    bytes
}

fn described<D: Decider>(decision: &Result<Vec<D::Event>, D::Rejection>) -> String {
    match decision {
        Ok(events) => format!("accepted\n{}", Shape::of(events)),
        Err(rejection) => format!("rejected\n{}", Shape::of(rejection)),
    }
}
