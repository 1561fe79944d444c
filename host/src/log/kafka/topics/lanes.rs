//! Reading and writing the layout in the topic of lanes.
//!
//! Why nobody can lose a change: whoever writes holds the transactional id of the layout, and with it has fenced whoever
//! held it before. It writes a record of its own into every partition and reads until that very record (the idea of R2:
//! ends of logs lie), so it has seen every layout that was ever committed. Its own layout is committed in all partitions at
//! once, or, if it was fenced meanwhile, in none: then it begins again.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError as Unread, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::context::{Context, pause};
use super::layout::{self, Found, KEY, Layout, agree};
use super::{Cluster, fatal, unmade};
use crate::clock::Stopwatch;
use crate::log::LogError;
use crate::log::kafka::ffi::KafkaError;
use crate::log::kafka::ffi::admin::End;
use crate::log::kafka::ffi::producer::Producer;
use crate::log::kafka::options::clients;
use crate::message::CommandId;

/// Key of the record that proves how far was read. Everybody else ignores it.
const LOCK: &str = "layout.lock";
/// Time to read the topic of lanes. It is compacted, and small.
const READING: Duration = Duration::from_secs(30);
/// Time for a transaction of one record per lane.
const COMMIT: Duration = Duration::from_secs(15);
/// Time in which somebody else may come in between, again and again.
const CHANGING: Duration = Duration::from_secs(60);
/// Longest rest before another attempt.
const REST_MS_MAX: u64 = 2_000;

/// How far a partition is read.
enum Until<'a> {
    /// To what its leader believes to be the end: good enough to compare with, never to change something.
    TheEnd,
    /// To one's own record.
    Record(&'a [u8]),
}

/// Why a change did not happen.
enum Refused {
    /// Somebody came in between, or nobody knows what became of the transaction: look again.
    Again(KafkaError),
    /// There is nothing to be tried.
    Ended(LogError),
}

impl Cluster {
    /// The layout as far as it can be seen. `lanes` is the number of partitions of the topic.
    ///
    /// # Errors
    /// [`LogError::Fatal`] if it cannot be read in time, [`LogError::Corrupt`] if it contradicts itself.
    pub(super) fn read_layout(&self, lanes: u32) -> Result<Found, LogError> {
        agree(&self.read(lanes, &Until::TheEnd)?).map_err(|e| self.corrupt(e))
    }

    /// Changes the layout under the fence. `change` gets the newest one and may be called several times; it must not look
    /// at what an owner may have written since.
    ///
    /// # Errors
    /// What `change` returns; or as [`Self::read_layout`]; or [`LogError::Fatal`] if others come in between for too long.
    pub(super) fn change_layout(
        &self,
        lanes: u32,
        change: &dyn Fn(Option<Layout>) -> Result<Layout, LogError>,
    ) -> Result<Layout, LogError> {
        let since = Stopwatch::start();
        for attempt in 0_u32.. {
            // Hosts that start together want the same: whoever finds it done disturbs nobody. What was read may be old,
            // but layouts only grow.
            if let Found::Agreed(layout) = self.read_layout(lanes)?
                && change(Some(layout.clone())).is_ok_and(|changed| changed == layout)
            {
                return Ok(layout);
            }
            match self.try_change(lanes, change) {
                Ok(layout) => return Ok(layout),
                Err(Refused::Ended(error)) => return Err(error),
                Err(Refused::Again(error)) if since.elapsed() > CHANGING => {
                    return Err(self.failed(&format!("write the layout into {}", self.options.lanes_topic()), error));
                }
                Err(Refused::Again(error)) => tracing::debug!(attempt, "the layout was not written yet: {error}"),
            }
            // Whoever was fenced rests longer than a change takes, and not as long as the others that were.
            let longest = (100 << attempt.min(10)).min(REST_MS_MAX);
            pause(Duration::from_millis(longest / 4 + RandomState::new().build_hasher().finish() % longest));
        }
        unreachable!("attempts end with the time")
    }

    fn try_change(
        &self,
        lanes: u32,
        change: &dyn Fn(Option<Layout>) -> Result<Layout, LogError>,
    ) -> Result<Layout, Refused> {
        let producer = self.producer().map_err(|e| Refused::Ended(unmade(e)))?;
        producer.init(COMMIT).map_err(|e| self.again(e))?;
        let nonce = CommandId::fresh();
        self.commit(&producer, lanes, LOCK, nonce.as_str().as_bytes())?;
        let read = self.read(lanes, &Until::Record(nonce.as_str().as_bytes())).map_err(Refused::Ended)?;
        let found = agree(&read).map_err(|e| Refused::Ended(self.corrupt(e)))?;
        let agreed = matches!(found, Found::Agreed(_));
        let before = found.layout();
        let layout = change(before.clone()).map_err(Refused::Ended)?;
        if !agreed || before.as_ref() != Some(&layout) {
            let value = serde_json::to_vec(&layout).map_err(|e| Refused::Ended(fatal(format!("the layout: {e}"))))?;
            self.commit(&producer, lanes, KEY, &value)?;
            tracing::info!("wrote the layout: {}", String::from_utf8_lossy(&value));
        }
        Ok(layout)
    }

    /// Errors that another attempt can mend, and those of rights, which it cannot.
    fn again(&self, error: KafkaError) -> Refused {
        if error.name.ends_with("AUTHORIZATION_FAILED") {
            return Refused::Ended(self.failed("write the layout", error));
        }
        Refused::Again(error)
    }

    fn producer(&self) -> Result<Producer, KafkaError> {
        let id = self.options.layout_transactional_id();
        let config = self.options.client_with(&[&[("transactional.id", id.as_str())][..], clients::LAYOUT].concat());
        Producer::new(&config, &[self.options.lanes_topic()])
    }

    /// One record in every partition, in one transaction whose EndTxn was sent once. A producer that failed is dropped by
    /// the caller, with whatever it had begun; the next one's init ends it.
    fn commit(&self, producer: &Producer, lanes: u32, key: &str, value: &[u8]) -> Result<(), Refused> {
        let commit = || {
            producer.begin()?;
            for lane in 0..lanes {
                producer.produce(0, lane, lane, key.as_bytes(), value, [])?;
            }
            let delivered = producer.commit(COMMIT)?;
            let sent = producer.end_txns();
            if sent != 1 || delivered.problem.is_some() || delivered.count != u64::from(lanes) {
                let problem = delivered.problem.unwrap_or_default();
                return Err(KafkaError::other(format!("no plain success: EndTxn was sent {sent} times; {problem}")));
            }
            Ok(())
        };
        commit().map_err(|e| self.again(e))
    }

    /// The newest layout of every partition.
    fn read(&self, lanes: u32, until: &Until<'_>) -> Result<Vec<Option<Layout>>, LogError> {
        let topic = self.options.lanes_topic();
        let what = format!("read the layout from {topic}");
        let first = self.ends(&[(&topic, lanes)], End::First)?;
        let consumer = self.reader(first).map_err(|error| match error {
            Unread::ClientCreation(_) | Unread::ClientConfig(..) => unmade(error),
            error => self.failed(&what, error),
        })?;
        let mut newest = vec![None; lanes as usize];
        let mut open = vec![true; lanes as usize];
        let since = Stopwatch::start();
        while open.contains(&true) {
            if since.elapsed() > READING {
                let late = open.iter().position(|open| *open).unwrap_or(0);
                let cause = "is a transaction of somebody else open there, or its leader cut off?";
                return Err(self.failed(&what, format!("partition {late} was not read to its end in time: {cause}")));
            }
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Err(Unread::PartitionEOF(partition))) => {
                    if matches!(until, Until::TheEnd) {
                        close(&mut open, partition);
                    }
                }
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                    return Err(self.failed(&what, error));
                }
                // Connections come and go; what stays wrong ends with the time.
                Some(Err(_)) => {}
                Some(Ok(record)) => {
                    let at = usize::try_from(record.partition()).unwrap_or(usize::MAX);
                    if !open.get(at).is_some_and(|open| *open) {
                        continue;
                    }
                    let value = record.payload().unwrap_or_default();
                    match (record.key(), until) {
                        (Some(key), _) if key == KEY.as_bytes() => {
                            newest[at] = Some(layout::Layout::parse(value).map_err(|e| self.corrupt(e))?);
                        }
                        (Some(key), Until::Record(own)) if key == LOCK.as_bytes() && value == *own => {
                            close(&mut open, record.partition());
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(newest)
    }

    /// A reader of partitions from their first offsets on. Asked for "the beginning", librdkafka looks for it before it
    /// knows the leaders, and then rests for half a second.
    fn reader(&self, first: BTreeMap<(String, u32), i64>) -> Result<BaseConsumer<Context>, Unread> {
        let consumer: BaseConsumer<Context> = self
            .options
            .client_with(&[&[("group.id", self.options.group.as_str())][..], clients::LAYOUT_READER].concat())
            .create_with_context(self.context.clone())?;
        let mut list = TopicPartitionList::new();
        for ((topic, lane), offset) in first {
            list.add_partition_offset(&topic, lane.cast_signed(), Offset::Offset(offset))?;
        }
        consumer.assign(&list)?;
        Ok(consumer)
    }

    fn corrupt(&self, what: String) -> LogError {
        LogError::Corrupt(format!("{}: {what}", self.options.lanes_topic()))
    }
}

fn close(open: &mut [bool], partition: i32) {
    if let Some(open) = usize::try_from(partition).ok().and_then(|at| open.get_mut(at)) {
        *open = false;
    }
}
