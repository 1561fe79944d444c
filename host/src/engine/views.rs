//! What can be seen of the running system, and why something cannot.

use std::time::Duration;

use serde::Serialize;

use super::Answered;
use crate::message::Digest;

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
    /// How long ago the commit began that proved that nobody else had changed it.
    pub age: Duration,
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
        /// What the host waits for beside its lanes.
        #[serde(skip_serializing_if = "Option::is_none")]
        waits_for: Option<String>,
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
