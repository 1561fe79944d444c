//! How large a record may be (R6): the `max.message.bytes` of each topic, as of the last look. A lane looks whenever it is
//! taken, and a record that the brokers refused leads there; who appends commands looks again before one is refused.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::topics::Cluster;
use crate::log::LogError;

/// Kafka's own default.
const DEFAULT: usize = 1_048_588;
/// Room in a record for everything but what a module gave: key, headers, and what an outcome says beside it.
const ROOM: usize = 32 * 1024;
/// Most bytes of a record of events: what a plain consumer takes without being told.
const EVENTS_MAX: usize = DEFAULT;
/// Least that a topic of events must take: an answer without anything from a module, and the record of a new owner.
pub const EVENTS_MIN: usize = 2 * ROOM;
/// Largest result of a module that any topic has room for.
pub const RESULT_BYTES_MAX: u64 = (EVENTS_MAX - ROOM) as u64;
/// Bytes that librdkafka gathers into one batch of records, unless a topic takes fewer.
const BATCH: usize = 1_000_000;

/// What topics take. Shared by everything that writes.
#[derive(Debug, Default)]
pub struct Bounds(Mutex<BTreeMap<String, usize>>);

impl Bounds {
    /// Bytes of the largest record that a topic takes.
    pub fn of(&self, topic: &str) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(topic).copied().unwrap_or(DEFAULT)
    }

    /// Bytes of the largest record that is written to a topic of events.
    pub fn of_events(&self, topic: &str) -> usize {
        self.of(topic).min(EVENTS_MAX)
    }

    /// Bytes of the largest result of a module that fits into a topic of events.
    pub fn of_results(&self, topic: &str) -> usize {
        self.of_events(topic).saturating_sub(ROOM)
    }

    /// Bytes of a batch of records that each of these topics takes: brokers compare that, not each record.
    pub fn batch(&self, topics: &[String]) -> usize {
        topics.iter().map(|topic| self.of(topic)).min().unwrap_or(BATCH).clamp(1, BATCH)
    }

    /// Asks the cluster what these topics take now.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if it does not say: what was known stays.
    pub fn look(&self, cluster: &Cluster, topics: &[String]) -> Result<(), LogError> {
        let seen = cluster.max_message_bytes(topics)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
        Ok(())
    }
}
