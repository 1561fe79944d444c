//! What the ways in (HTTP, CLI in one process, Kafka later) see of the running system. They know no lane and no log.

use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio::sync::{Notify, oneshot};

use crate::decider::modules::Listing;
use crate::log::{Block, Entry};
use crate::message::{AggregateId, AggregateType, Command, CommandId, Digest};

/// A command on its way in, and where its answer goes.
#[derive(Debug)]
pub struct Submission {
    /// The command.
    pub command: Command,
    /// Who waits for the answer.
    pub reply: Reply,
}

/// Who waits for an answer. Never blocks the lane.
#[derive(Debug)]
pub enum Reply {
    /// One caller waits for this one command.
    Once(oneshot::Sender<Result<Answered, Unanswered>>),
    /// A stream of commands: the answer goes to its box under its line number.
    Line(Arc<ReplyBox>, u64),
}

/// The answers of one stream of commands. Bounded by its owner, who never has more than its window in flight.
#[derive(Debug, Default)]
pub struct ReplyBox {
    lines: Mutex<Vec<(u64, Result<Answered, Unanswered>)>>,
    arrived: Notify,
}

impl ReplyBox {
    /// Adds answers and wakes the owner once.
    pub fn push(&self, answers: impl IntoIterator<Item = (u64, Result<Answered, Unanswered>)>) {
        self.lines.lock().expect("no panic while held").extend(answers);
        self.arrived.notify_one();
    }

    /// Waits until there are answers and takes them all. Cancel-safe: answers are taken only when it returns.
    pub async fn take(&self) -> Vec<(u64, Result<Answered, Unanswered>)> {
        loop {
            let arrived = self.arrived.notified();
            let lines = std::mem::take(&mut *self.lines.lock().expect("no panic while held"));
            if !lines.is_empty() {
                return lines;
            }
            arrived.await;
        }
    }
}

/// A committed answer: the block that holds it, and where in it.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The committed block.
    pub block: Block,
    /// Byte offset of the entry in the block.
    pub offset: u32,
    /// This command id was answered before; the entry is the first answer.
    pub repeated: bool,
}

impl Answered {
    /// The answered command.
    ///
    /// # Panics
    /// Never: whoever made this found the entry at this offset of a checked block.
    pub fn entry(&self) -> Entry<'_> {
        self.block.entry(self.offset).expect("the offset was read from this block")
    }
}

/// A command got no outcome (yet): whether it will have one is not known here. Ask again with the same command id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The host is stopping or its lane was lost before the commit was certain.
    #[error("the host is stopping or lost the lane; send the command again with the same command id")]
    Interrupted,
    /// The disk is full; nothing was committed.
    #[error("{0}")]
    DiskFull(String),
    /// The log cannot be written any more; the host acknowledges nothing until it is restarted.
    #[error("{0}")]
    LogFailed(String),
}

/// A submission was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No module is active for the type. Nothing was recorded.
    #[error(
        "no module is active for the aggregate type {0:?}: deploy one (`ordain deploy FILE.wasm`, or copy it into the modules folder)"
    )]
    UnknownType(String),
    /// The lane's queue is full.
    #[error("the queue of this aggregate's lane is full: try again shortly")]
    Busy,
    /// The host is starting, stopping, or failed; the text says which.
    #[error("{0}")]
    Unavailable(String),
}

/// A read could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No module is active for the type.
    #[error(
        "no module is active for the aggregate type {0:?}: deploy one (`ordain deploy FILE.wasm`, or copy it into the modules folder)"
    )]
    UnknownType(String),
    /// The host is starting, stopping, or failed.
    #[error("{0}")]
    Unavailable(String),
    /// Too many reads of the past at once.
    #[error("too many reads of the past at once: try again shortly")]
    Busy,
    /// The aggregate's committed events cannot be folded by the active module.
    #[error("{0}")]
    Quarantined(String),
    /// What is on disk cannot be trusted or read.
    #[error("{0}")]
    Broken(String),
}

/// The state of one aggregate at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateView {
    /// Number of events folded.
    pub version: u64,
    /// The state as MessagePack with field names.
    pub state: Vec<u8>,
    /// The module that folded it.
    pub module: Digest,
}

/// A piece of one aggregate's history.
#[derive(Debug, Clone)]
pub struct History {
    /// The aggregate's version now.
    pub head: u64,
    /// Events in order of version.
    pub events: Vec<HistoryEvent>,
    /// Version to go on from; `None` at the end.
    pub next: Option<u64>,
}

/// One event of a history: a committed answer and the number of the event within it, from 1.
#[derive(Debug, Clone)]
pub struct HistoryEvent {
    /// The aggregate's version after this event.
    pub version: u64,
    /// The answer that holds it.
    pub answered: Answered,
    /// Which of the command's events it is, from 1.
    pub index: u32,
    /// How many events the command has.
    pub count: u32,
}

impl HistoryEvent {
    /// The event as MessagePack.
    pub fn bytes(&self) -> &[u8] {
        use ordain_sdk::contract::Frames;
        let crate::log::Answer::Accepted { events, .. } = self.answered.entry().answer else { return &[] };
        Frames(events).nth(self.index as usize - 1).and_then(Result::ok).unwrap_or_default()
    }
}

/// Whether the host serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// Lanes are being restored from the log.
    Starting {
        /// Lanes that are ready.
        lanes_ready: u32,
        /// Lanes in all.
        lanes: u32,
        /// Events folded so far.
        events_restored: u64,
    },
    /// Commands are decided.
    Ready,
    /// A stop was asked for; what is queued is still decided.
    Stopping,
    /// The log failed or a lane cannot go on; the reason says what to do.
    Failed {
        /// What happened and what to do.
        reason: String,
    },
}

/// The running system. Cheap to clone.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    /// Number of partitions, fixed for ever.
    pub fn partitions(&self) -> u32 {
        todo!()
    }

    /// Whether the host serves.
    pub fn status(&self) -> Status {
        todo!()
    }

    /// Whether a module is active for the type.
    ///
    /// # Errors
    /// [`Refused::UnknownType`].
    pub fn route(&self, _aggregate_type: &AggregateType) -> Result<(), Refused> {
        todo!()
    }

    /// Hands one command to its lane if there is room.
    ///
    /// # Errors
    /// [`Refused`]; the command was not recorded.
    pub fn try_submit(&self, _submission: Submission) -> Result<(), Refused> {
        todo!()
    }

    /// Hands commands of one stream to their lanes, in order, waiting where a queue is full. Types must have been routed.
    /// Not cancel-safe in between: a part may have been handed over.
    ///
    /// # Errors
    /// [`Refused::Unavailable`]; every reply not handed over gets [`Unanswered::Interrupted`].
    pub async fn submit(&self, _submissions: Vec<Submission>) -> Result<(), Refused> {
        todo!()
    }

    /// The current committed state; `None` if the aggregate never existed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn state(&self, _of: &AggregateType, _id: &AggregateId) -> Result<Option<StateView>, ReadError> {
        todo!()
    }

    /// The state as it was at a version, folded by the active module; `None` if the version is above the head or 0.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn state_at(
        &self,
        _of: &AggregateType,
        _id: &AggregateId,
        _version: u64,
    ) -> Result<Option<StateView>, ReadError> {
        todo!()
    }

    /// Waits until the aggregate has at least this version, then its state. The caller bounds the wait by dropping the future.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn state_from(
        &self,
        _of: &AggregateType,
        _id: &AggregateId,
        _version: u64,
    ) -> Result<StateView, ReadError> {
        todo!()
    }

    /// The outcome of a command, if it was answered.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn outcome(
        &self,
        _of: &AggregateType,
        _id: &AggregateId,
        _command: &CommandId,
    ) -> Result<Option<Answered>, ReadError> {
        todo!()
    }

    /// Events of an aggregate from version `from` (inclusive) on, at most `limit`; `None` if it never existed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn history(
        &self,
        _of: &AggregateType,
        _id: &AggregateId,
        _from: u64,
        _limit: usize,
    ) -> Result<Option<History>, ReadError> {
        todo!()
    }

    /// Ids and versions of a type's aggregates in byte order of id, after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn list(
        &self,
        _of: &AggregateType,
        _after: Option<&str>,
        _limit: usize,
    ) -> Result<Vec<(String, u64)>, ReadError> {
        todo!()
    }

    /// Every type's modules: active, former, refused. Each active one with the lanes that took it.
    pub fn modules(&self) -> Listing {
        todo!()
    }

    /// Checks and activates a module.
    ///
    /// # Errors
    /// Why it was refused, with what to do about it.
    pub async fn deploy(&self, _wasm: Vec<u8>) -> Result<Digest, String> {
        todo!()
    }
}
