//! The floor: commands are read and answers are written by Ordain's own consumer and producer, in transactions, with the
//! headers of an event and the value of the command, and nothing is decided. No system built on them can be faster.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use ordain::clock::Stopwatch;
use ordain::log::kafka::ffi::KafkaError;
use ordain::log::kafka::ffi::consumer::{Assigned, Consumer};
use ordain::log::kafka::ffi::producer::Producer;
use ordain::log::kafka::options::clients;
use ordain::log::kafka::records::{JSON, RecordView, SPEC_VERSION, name};
use rdkafka::ClientConfig;

use super::{LANES, PARTITIONS};

/// Commands of a transaction: as many as a lane takes.
const BATCH: usize = 1_024;
/// As Ordain waits between two transactions of a lane.
const PAUSE: Duration = Duration::from_millis(2);
const TIMEOUT: Duration = Duration::from_secs(60);
const MODULE: &[u8] = b"sha256:5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

struct Copied {
    partition: u32,
    offset: i64,
    key: Box<[u8]>,
    value: Box<[u8]>,
    id: Box<[u8]>,
}

/// Copies until it is killed.
///
/// # Errors
/// What Kafka says.
pub fn run(brokers: &str, prefix: &str) -> anyhow::Result<()> {
    let lanes: Vec<_> = (0..LANES).map(|lane| start(brokers, prefix, lane)).collect::<Result<_, _>>()?;
    println!("RUNNING");
    for thread in lanes.into_iter().flatten() {
        thread.join().map_err(|_| anyhow!("a thread panicked"))??;
    }
    Ok(())
}

fn start(brokers: &str, prefix: &str, lane: u32) -> anyhow::Result<[JoinHandle<anyhow::Result<()>>; 2]> {
    let (to, from) = sync_channel(2);
    let assigned = (lane..PARTITIONS).step_by(LANES as usize).map(|partition| Assigned {
        topic: format!("{prefix}account.commands"),
        partition,
        offset: 0,
    });
    let partitions: Vec<u32> = (lane..PARTITIONS).step_by(LANES as usize).collect();
    let consumer = Consumer::new(&consumer_config(brokers), assigned.collect()).map_err(told)?;
    let topics = [format!("{prefix}account.events")];
    let producer = Producer::new(&producer_config(brokers, &format!("{prefix}{lane}")), &topics).map_err(told)?;
    producer.init(TIMEOUT).map_err(told)?;
    let reads =
        std::thread::Builder::new().name("floor-reads".into()).spawn(move || read(consumer, &partitions, &to))?;
    let writes = std::thread::Builder::new().name("floor-writes".into()).spawn(move || write(&producer, &from))?;
    Ok([reads, writes])
}

fn told(error: KafkaError) -> anyhow::Error {
    anyhow!("the floor: {error}")
}

fn read(mut consumer: Consumer, partitions: &[u32], to: &SyncSender<Vec<Copied>>) -> anyhow::Result<()> {
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        let one = |place: usize, offset: i64, record: &RecordView<'_>| {
            let id = record.headers.iter().find(|(name, _)| *name == b"ce_id").and_then(|(_, value)| *value);
            batch.push(Copied {
                partition: partitions.get(place).copied().context("a partition that was not asked for")?,
                offset,
                key: record.key.unwrap_or_default().into(),
                value: record.value.unwrap_or_default().into(),
                id: id.unwrap_or_default().into(),
            });
            Ok(())
        };
        consumer.poll(Duration::from_millis(100), one, |_, what| anyhow!("the floor reads: {what}"))?;
        if !batch.is_empty() && to.send(batch).is_err() {
            return Ok(());
        }
    }
}

fn write(producer: &Producer, from: &Receiver<Vec<Copied>>) -> anyhow::Result<()> {
    let mut sequence = 0;
    let mut since = Stopwatch::start();
    while let Ok(batch) = from.recv() {
        if let Some(rest) = PAUSE.checked_sub(since.elapsed()) {
            std::thread::park_timeout(rest);
        }
        producer.begin().map_err(told)?;
        for one in &batch {
            copy(producer, one, sequence).map_err(told)?;
            sequence += 1;
        }
        let delivered = producer.commit(TIMEOUT).map_err(told)?;
        ensure!(delivered.count == batch.len() as u64, "{} of {} were delivered", delivered.count, batch.len());
        since = Stopwatch::start();
    }
    Ok(())
}

fn copy(producer: &Producer, one: &Copied, sequence: u64) -> Result<(), KafkaError> {
    let (offset, sequence) = (one.offset.to_string(), sequence.to_string());
    let headers = [
        (name::CONTENT_TYPE, JSON.as_bytes()),
        (name::SPEC_VERSION, SPEC_VERSION.as_bytes()),
        (name::ID, b"account/acc-0000000/12"),
        (name::SOURCE, b"/ordain/floor"),
        (name::TYPE, b"account.Deposited"),
        (name::SUBJECT, &one.key),
        (name::TIME, b"2026-01-02T03:04:05.678Z"),
        (name::SEQUENCE, b"12"),
        (name::COMMAND_ID, &one.id),
        (name::COMMAND_HASH, b"0123456789abcdef"),
        (name::COMMAND_INDEX, b"1"),
        (name::COMMAND_COUNT, b"1"),
        (name::COMMAND_OFFSET, offset.as_bytes()),
        (name::LOG_SEQUENCE, sequence.as_bytes()),
        (name::MODULE, MODULE),
        (name::EPOCH, b"0"),
    ];
    producer.produce(0, one.partition, one.partition, &one.key, &one.value, headers)
}

/// As a lane's feed has it.
fn consumer_config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", brokers),
        ("group.id", "floor"),
        ("isolation.level", "read_committed"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"),
        ("check.crcs", "true"),
        ("fetch.message.max.bytes", "16777216"),
        ("queued.min.messages", "50000"),
        ("queued.max.messages.kbytes", "65536"),
        ("fetch.queue.backoff.ms", "5"),
        ("enable.metrics.push", "false"),
        ("log_level", "3"),
    ] {
        config.set(name, value);
    }
    config
}

/// As a lane's committer has it.
fn producer_config(brokers: &str, transactional_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("transactional.id", transactional_id);
    for &(name, value) in clients::LANE {
        config.set(name, value);
    }
    config
}
