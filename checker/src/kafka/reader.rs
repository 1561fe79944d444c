//! The reader: a broker's partitions from the beginning to the end, `read_committed`, by plain assignment.
//!
//! It expects a quiet cluster, and waits a bounded time for it: transactions that nobody ends any more are ended by the
//! broker. What moves while it is read is refused, for a verdict about half a log would be none.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::{Layout, Part, Record, Source, Topic, TypeTopics};

/// Longest wait for one answer of the cluster.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest wait for one record; also how long a wait for anything else takes.
const POLL: Duration = Duration::from_millis(100);
/// How often the end of a partition may turn out to have moved.
const MOVES_MAX: u32 = 5;

/// Which cluster, and which log in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// `host:port,…`.
    pub brokers: String,
    /// What the names of the log's topics begin with.
    pub prefix: String,
    /// More properties of librdkafka: for TLS and passwords.
    pub properties: Vec<(String, String)>,
    /// How long to wait for open transactions to end, and for a record where there must be one.
    pub patience: Duration,
}

impl Broker {
    /// A log in a cluster that asks for nothing. It is waited for half a minute.
    pub fn new(brokers: &str, prefix: &str) -> Self {
        Self {
            brokers: brokers.to_owned(),
            prefix: prefix.to_owned(),
            properties: Vec::new(),
            patience: Duration::from_secs(30),
        }
    }
}

/// A log in a cluster.
pub struct Cluster {
    broker: Broker,
    /// Sees what is committed, and the last stable offset as the end.
    committed: BaseConsumer,
    /// Sees everything, and the high watermark as the end.
    everything: BaseConsumer,
    /// Polls of [`POLL`] that may pass before patience is over.
    polls_max: u32,
    /// Waited for a transaction that did not end: the next ones are not waited for.
    waited: bool,
}

impl Cluster {
    /// Connects.
    ///
    /// # Errors
    /// If librdkafka refuses a property.
    pub fn open(broker: &Broker) -> anyhow::Result<Self> {
        let consumer = |isolation: &str| -> anyhow::Result<BaseConsumer> {
            let mut config = ClientConfig::new();
            config
                .set("bootstrap.servers", &broker.brokers)
                // Assigning needs the name of a group; nothing is joined and nothing committed.
                .set("group.id", format!("{}checker", broker.prefix))
                .set("enable.auto.commit", "false")
                .set("enable.auto.offset.store", "false")
                .set("enable.partition.eof", "true")
                .set("auto.offset.reset", "error")
                .set("check.crcs", "true")
                .set("fetch.wait.max.ms", "10")
                .set("fetch.error.backoff.ms", "50")
                .set("queued.max.messages.kbytes", "65536")
                .set("isolation.level", isolation);
            for (key, value) in &broker.properties {
                config.set(key, value);
            }
            config.create().context("librdkafka refuses its properties")
        };
        let polls = broker.patience.as_millis() / POLL.as_millis();
        Ok(Self {
            committed: consumer("read_committed")?,
            everything: consumer("read_uncommitted")?,
            broker: broker.clone(),
            polls_max: u32::try_from(polls).unwrap_or(u32::MAX).max(1),
            waited: false,
        })
    }

    fn name(&self, topic: Topic<'_>) -> String {
        format!("{}{topic}", self.broker.prefix)
    }

    /// First offset, last stable offset and high watermark.
    fn ends(&self, topic: &str, partition: u32) -> anyhow::Result<(u64, u64, u64)> {
        let ask = |of: &BaseConsumer| {
            of.fetch_watermarks(topic, partition.cast_signed(), ANSWER)
                .with_context(|| format!("the ends of {topic} partition {partition} cannot be learnt"))
        };
        // The stable one first: it can only be behind.
        let ((start, stable), (_, high)) = (ask(&self.committed)?, ask(&self.everything)?);
        let number = |offset: i64| u64::try_from(offset).unwrap_or(0);
        Ok((number(start), number(stable), number(high)))
    }

    /// The ends, once no transaction is open, or when patience is over.
    fn quiet_ends(&mut self, topic: &str, partition: u32) -> anyhow::Result<(u64, u64, u64)> {
        let mut polls = 0;
        loop {
            let ends = self.ends(topic, partition)?;
            if ends.1 >= ends.2 || self.waited {
                return Ok(ends);
            }
            // Nothing is assigned: this is a wait that serves the client meanwhile.
            self.committed.unassign()?;
            let _nothing = self.committed.poll(POLL);
            polls += 1;
            self.waited = polls >= self.polls_max;
        }
    }

    fn assign(&self, topic: &str, partition: u32, offset: Offset) -> anyhow::Result<()> {
        let mut one = TopicPartitionList::new();
        one.add_partition_offset(topic, partition.cast_signed(), offset)?;
        self.committed.assign(&one).with_context(|| format!("{topic} partition {partition} cannot be read"))
    }

    /// Reads on to the end that the broker shows now.
    fn read_to_end(&self, topic: &str, partition: u32, records: &mut Vec<Record>) -> anyhow::Result<()> {
        let (mut idle, mut last_error) = (0, None);
        while idle < self.polls_max {
            match self.committed.poll(POLL) {
                Some(Ok(message)) => {
                    let record = record(&message);
                    if records.last().is_some_and(|last| last.offset >= record.offset) {
                        bail!("{topic} partition {partition} gave offset {} twice", record.offset);
                    }
                    records.push(record);
                    idle = 0;
                }
                Some(Err(KafkaError::PartitionEOF(of))) if of == partition.cast_signed() => return Ok(()),
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => {
                    last_error = Some(error);
                    idle += 1;
                }
                None => idle += 1,
            }
        }
        let read = records.last().map_or("nothing".to_owned(), |last| format!("up to {}", last.offset));
        let cause = last_error.map_or(String::new(), |error| format!(" ({error})"));
        bail!(
            "{topic} partition {partition} was read {read}, then nothing came and no end{cause}: is its leader there?"
        )
    }
}

impl Source for Cluster {
    fn layout(&mut self) -> anyhow::Result<Layout> {
        let cluster = self.committed.fetch_metadata(None, ANSWER).context("the topics cannot be listed")?;
        let prefix = &self.broker.prefix;
        let (mut types, mut lanes) = (BTreeMap::<String, (u32, u32)>::new(), 0);
        for topic in cluster.topics() {
            let Some(name) = topic.name().strip_prefix(prefix.as_str()) else { continue };
            let partitions = topic.partitions().len() as u32;
            if name == "lanes" {
                lanes = partitions;
            } else if let Some(of) = name.strip_suffix(".commands").filter(|of| is_type(of)) {
                types.entry(of.to_owned()).or_default().0 = partitions;
            } else if let Some(of) = name.strip_suffix(".events").filter(|of| is_type(of)) {
                types.entry(of.to_owned()).or_default().1 = partitions;
            }
        }
        if types.is_empty() && lanes == 0 {
            bail!("no topic of {} begins with `{prefix}`: name the prefix of the log", self.broker.brokers);
        }
        let types = types.into_iter().map(|(name, (commands, events))| TypeTopics { name, commands, events }).collect();
        Ok(Layout { prefix: prefix.clone(), types, lanes })
    }

    fn part(&mut self, topic: Topic<'_>, partition: u32) -> anyhow::Result<Part> {
        let name = self.name(topic);
        let mut ends = self.quiet_ends(&name, partition)?;
        let mut records = Vec::new();
        if ends.0 < ends.1 {
            self.assign(&name, partition, Offset::Offset(ends.0.cast_signed()))?;
            let mut moves = 0;
            loop {
                self.read_to_end(&name, partition, &mut records)?;
                let now = self.ends(&name, partition)?;
                if now == ends {
                    break;
                }
                moves += 1;
                if moves > MOVES_MAX {
                    bail!("{name} partition {partition} goes on growing: stop hosts and clients before it is judged");
                }
                ends = now;
            }
            self.committed.unassign()?;
        }
        let (start, stable, high) = ends;
        Ok(Part { records, start, stable, high })
    }

    fn again(&self, topic: Topic<'_>, partition: u32, offset: u64) -> Option<Record> {
        self.assign(&self.name(topic), partition, Offset::Offset(offset.cast_signed())).ok()?;
        let mut found = None;
        for _ in 0..self.polls_max {
            match self.committed.poll(POLL) {
                Some(Ok(message)) => {
                    found = Some(record(&message)).filter(|record| record.offset == offset);
                    break;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                _ => {}
            }
        }
        self.committed.unassign().ok()?;
        found
    }
}

/// `[a-z][a-z0-9-]{0,62}`.
fn is_type(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    letters && name.len() <= 63 && name.starts_with(|first: char| first.is_ascii_lowercase())
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers();
    let count = headers.map_or(0, Headers::count);
    let header = |index: usize| {
        // The client panics on names that are not UTF-8, which anybody may send.
        catch_unwind(AssertUnwindSafe(|| headers.and_then(|headers| headers.try_get(index)))).ok().flatten()
    };
    let headers = (0..count).map(|index| header(index).map_or(("\u{fffd}", None), |one| (one.key, one.value)));
    Record::new(message.offset().cast_unsigned(), message.key(), message.payload(), headers)
}
