//! The load: one client that batches as a good one does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use ordain_tests::clock;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::commands::Ask;

/// Longest wait for what was sent to be taken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends commands to one topic.
pub struct Sender {
    producer: BaseProducer,
    topic: String,
    ask: Ask,
}

impl Sender {
    /// A client that waits so long for more to send along.
    ///
    /// # Errors
    /// If there can be none.
    pub fn new(brokers: &str, prefix: &str, linger_ms: u32) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new();
        for (name, value) in [
            ("bootstrap.servers", brokers),
            ("partitioner", "murmur2_random"),
            ("enable.idempotence", "true"),
            ("compression.type", "lz4"),
            ("linger.ms", &linger_ms.to_string()),
            ("queue.buffering.max.messages", "1000000"),
            ("batch.size", "1000000"),
            ("enable.metrics.push", "false"),
            ("enable.sparse.connections", "false"),
            ("log_level", "3"),
        ] {
            config.set(name, value);
        }
        let producer = config.create().context("the load generator")?;
        Ok(Self { producer, topic: format!("{prefix}account.commands"), ask: Ask::default() })
    }

    /// Hands over what was made; waits where the queue is full.
    fn send(&mut self) -> anyhow::Result<()> {
        let text = |bytes: &'_ [u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = OwnedHeaders::new_with_capacity(2)
            .insert(Header { key: "content-type", value: Some("application/json") })
            .insert(Header { key: "ce_id", value: Some(&text(&self.ask.id)) });
        let mut record = BaseRecord::to(&self.topic).key(&self.ask.key).payload(&self.ask.value).headers(headers);
        let start = clock::now_ns();
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if clock::since(start) < PATIENCE =>
                {
                    record = back;
                    self.producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => bail!("a command cannot be sent: {error}"),
            }
        }
    }

    /// Sends command number `n` of an account with this value.
    ///
    /// # Errors
    /// If it cannot be handed over.
    pub fn one(&mut self, n: u64, account: u64, value: &str) -> anyhow::Result<()> {
        self.ask.with(n, account, value);
        self.send()
    }

    /// Sends commands as fast as they are taken.
    ///
    /// # Errors
    /// If they are not.
    pub fn all(&mut self, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
        for n in numbers {
            self.ask.make(n);
            self.send()?;
            if n % 1_000 == 0 {
                self.producer.poll(Duration::ZERO);
            }
        }
        self.done()
    }

    /// Sends commands `first…` at a rate per second, one for each slot of `sent`, which says when: in nanoseconds of the
    /// monotonic clock.
    ///
    /// # Errors
    /// If they cannot be handed over.
    pub fn at_rate(&mut self, first: u64, rate: u64, sent: &[AtomicU64]) -> anyhow::Result<()> {
        let start = clock::now_ns();
        let mut next = 0;
        while next < sent.len() {
            let due = (clock::since(start).as_nanos() * u128::from(rate) / 1_000_000_000) as usize + 1;
            while next < due.min(sent.len()) {
                self.ask.make(first + next as u64);
                sent[next].store(clock::now_ns(), Ordering::Release);
                self.send()?;
                next += 1;
            }
            self.producer.poll(Duration::ZERO);
            std::thread::park_timeout(Duration::from_micros(500));
        }
        self.done()
    }

    /// Waits until everything is taken.
    ///
    /// # Errors
    /// If it is not.
    pub fn done(&self) -> anyhow::Result<()> {
        self.producer.flush(PATIENCE).context("commands were not taken")
    }
}
