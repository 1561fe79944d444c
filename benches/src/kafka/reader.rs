//! Reads answers as any client would: read committed, from the topic of events.

use std::time::Duration;

use anyhow::{Context, anyhow};
use ordain::log::kafka::ffi::consumer::{Assigned, Consumer};
use ordain::log::kafka::records::RecordView;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::PARTITIONS;
use super::commands::number;

/// Longest wait for an answer of the cluster.
const ANSWER: Duration = Duration::from_secs(20);

/// The answer to one command.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The command's number.
    pub n: u64,
    /// What happened, as `account.Renamed`, or `ordain.outcome`.
    pub kind: &'a [u8],
    /// When the broker appended it, in milliseconds since 1970.
    pub stamp_ms: i64,
}

/// Where a topic of events ends for those who read what is committed.
pub struct Ends {
    consumer: BaseConsumer,
    topic: String,
}

impl Ends {
    /// Of the events of a prefix.
    ///
    /// # Errors
    /// If there can be no consumer.
    pub fn of(brokers: &str, prefix: &str) -> anyhow::Result<Self> {
        let consumer = config(brokers).create().context("the reader of ends")?;
        Ok(Self { consumer, topic: format!("{prefix}account.events") })
    }

    /// For each partition.
    ///
    /// # Errors
    /// If the cluster does not say.
    pub fn now(&self) -> anyhow::Result<Vec<i64>> {
        let end = |partition| self.consumer.fetch_watermarks(&self.topic, partition, ANSWER).map(|(_, end)| end);
        (0..PARTITIONS as i32).map(end).collect::<Result<_, _>>().context("ends of events")
    }
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", brokers),
        ("group.id", "bench"),
        ("isolation.level", "read_committed"),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "error"),
        ("fetch.queue.backoff.ms", "1"),
        ("enable.metrics.push", "false"),
        ("log_level", "3"),
    ] {
        config.set(name, value);
    }
    config
}

/// Reads answers.
pub struct Reader(Consumer);

impl Reader {
    /// From these offsets on.
    ///
    /// # Errors
    /// If there can be no consumer.
    pub fn from(brokers: &str, prefix: &str, offsets: &[i64]) -> anyhow::Result<Self> {
        let topic = format!("{prefix}account.events");
        let of = |(partition, &offset)| Assigned { topic: topic.clone(), partition, offset };
        let assigned = (0..).zip(offsets).map(of).collect();
        Ok(Self(Consumer::new(&config(brokers), assigned).map_err(|e| anyhow!("the reader: {e}"))?))
    }

    /// Waits for answers and hands over each.
    ///
    /// # Errors
    /// What librdkafka says.
    pub fn poll(&mut self, patience: Duration, mut each: impl FnMut(Answer<'_>)) -> anyhow::Result<()> {
        let one = |_: usize, _: i64, record: &RecordView<'_>| {
            if let Some(answer) = answer(record) {
                each(answer);
            }
            Ok(())
        };
        self.0.poll(patience, one, |_, what| anyhow!("answers cannot be read: {what}")).map(drop)
    }
}

/// The last record of an answer; none for the others.
fn answer<'a>(record: &RecordView<'a>) -> Option<Answer<'a>> {
    let (mut kind, mut id, mut index, mut count) = (None, None, None, None);
    for (name, value) in record.headers {
        match *name {
            b"ce_type" => kind = *value,
            b"ce_commandid" => id = *value,
            b"ce_commandindex" => index = *value,
            b"ce_commandcount" => count = *value,
            _ => {}
        }
    }
    let ends = index? == count?;
    ends.then_some(Answer { n: number(id?)?, kind: kind?, stamp_ms: record.timestamp_ms })
}
