//! Taking a lane (R1, R2): the only way to own or re-own one. It reads like the rule:
//!
//! 0. **agree**: layout, settings and cluster say the same (R3).
//! 1. **init**: a new producer under the lane's transactional id. Every transaction of an earlier owner is decided then,
//!    and nothing of one can be committed any more.
//! 2. **barrier**: one transaction that really writes an `ordain.owner` record with a fresh nonce to the lane's partition
//!    of the lanes topic and to every events partition of the lane. An empty transaction proves nothing: on a fenced
//!    producer it returns success.
//! 3. **restore**: the local copy, then Kafka, read committed, until that very record is delivered in every partition.
//!    End offsets are never asked for: behind a foreign open transaction, or on a broker that was cut off, they lie.
//!
//! Why it is safe: any commit decided before the init has its markers in the log before our record, so the reader sees it;
//! any other was aborted by the init. What was written under an earlier epoch after it is refused by the brokers.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

use super::Host;
use super::absent::Absent;
use super::commit::{COMMIT, LANES_MARK, classify};
use super::ffi::KafkaError;
use super::ffi::consumer::{Assigned, Consumer};
use super::ffi::producer::{Deliveries, Producer};
use super::lane::Stream;
use super::records::assembler::Assembler;
use super::records::owner::Owner;
use super::records::{RecordView, name};
use crate::clock::{self, Stopwatch};
use crate::log::{Block, BlockBuilder, LogError, Lsn, Term};

/// Time for an init.
const INIT: Duration = Duration::from_secs(30);
/// Time for the first attempt of it; each later one has twice as long. While the earlier owner's last transaction is being
/// ended the coordinator says so, and librdkafka asks again only after half a second: a new producer asks at once.
const INIT_FIRST: Duration = Duration::from_millis(80);
/// Attempts at init and barrier before the lane gives up.
const ATTEMPTS: u32 = 60;
/// Time without a single record after which a restore says that it is stuck, and asks other brokers.
const SILENCE_TOLD: Duration = Duration::from_secs(5);
/// Time without a single record after which the lane is taken anew.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes and answers of one restored block.
const BLOCK_BYTES: usize = 512 * 1024;
/// See [`BLOCK_BYTES`].
const BLOCK_ANSWERS: u32 = 2_000;

/// Takes a lane. Returns the producer that owns it, the term, and the offset of the last record in each stream.
///
/// # Errors
/// [`LogError::Revoked`] if the lane is not to be ours; [`LogError::Corrupt`] if the log cannot be trusted;
/// [`LogError::Fatal`] if Kafka does not let it be taken; what `replay` returned.
pub fn take(
    host: &Host,
    lane: u32,
    streams: &[Stream],
    from: Lsn,
    replay: &mut dyn FnMut(&Block) -> Result<(), LogError>,
) -> Result<(Producer, Term, HashMap<u32, i64>), LogError> {
    for attempt in 0..ATTEMPTS {
        if !host.placement.is_ours(lane) {
            return Err(LogError::Revoked { lane });
        }
        match host.disagreement() {
            Ok(None) => {}
            Ok(Some(why)) => return Err(LogError::Corrupt(why)),
            Err(error) => tracing::debug!(lane, "the layout could not be compared: {error}"),
        }
        let (began, watch) = (clock::boot_time(), Stopwatch::start());
        match fence(host, lane, streams) {
            Ok((producer, nonce, term, ends)) => {
                let fenced = watch.elapsed();
                replay_copy(host, from, replay)?;
                let copied = watch.elapsed();
                restore(host, lane, streams, (&nonce, term), replay)?;
                host.proved(lane, began);
                tracing::info!(
                    lane,
                    fence_ms = fenced.as_millis(),
                    copy_ms = (copied - fenced).as_millis(),
                    restore_ms = (watch.elapsed() - copied).as_millis(),
                    "the log of the lane is taken"
                );
                return Ok((producer, term, ends));
            }
            Err(error) if attempt + 1 == ATTEMPTS => {
                return Err(LogError::Fatal(format!("lane {lane} cannot be taken: {error}")));
            }
            Err(error) => {
                tracing::warn!(lane, "the lane could not be taken yet: {error}");
                host.back_off(attempt);
            }
        }
    }
    Err(LogError::Revoked { lane })
}

/// Init and barrier.
fn fence(
    host: &Host,
    lane: u32,
    streams: &[Stream],
) -> Result<(Producer, String, Term, HashMap<u32, i64>), KafkaError> {
    let layout = host.layout();
    let mut topics = vec![host.options.lanes_topic()];
    topics.extend(Host::types_of(streams).iter().map(|of| host.options.events_topic(of)));
    let id = host.options.transactional_id(layout.generation, lane);
    let watch = Stopwatch::start();
    let mut patience = INIT_FIRST;
    let producer = loop {
        let producer = Producer::new(&host.producer_config(&id, &topics), &topics)?;
        producer.connect(INIT)?;
        match producer.init(patience) {
            Ok(()) => break producer,
            Err(error) if !error.retriable || watch.elapsed() > INIT => return Err(error),
            Err(_) => patience = INIT.min(2 * patience),
        }
    };
    let nonce = uuid::Uuid::now_v7().to_string();
    let owner = Owner { lane, nonce: nonce.clone(), address: host.address(), modules: host.placement.modules() };
    let delivered = write_barrier(host, &producer, &owner, streams)?;
    let term = delivered.last.get(&LANES_MARK).copied().and_then(|offset| u64::try_from(offset).ok());
    let term = term.ok_or_else(|| KafkaError::other("the record of the take-over has no offset"))?;
    Ok((producer, nonce, Term(term), delivered.last))
}

/// The transaction that proves the ownership.
fn write_barrier(
    host: &Host,
    producer: &Producer,
    owner: &Owner,
    streams: &[Stream],
) -> Result<Deliveries, KafkaError> {
    let record = owner.record(&host.source, clock::now_ms());
    let names = record.headers.iter().map(|(name, _)| std::ffi::CString::new(&**name));
    let names = names.collect::<Result<Vec<_>, _>>().map_err(|e| KafkaError::other(e.to_string()))?;
    let headers = || names.iter().map(std::ffi::CString::as_c_str).zip(record.headers.iter().map(|(_, v)| &v[..]));
    let types = Host::types_of(streams);
    producer.begin()?;
    producer.produce(0, owner.lane, LANES_MARK, &record.key, &record.value, headers())?;
    for stream in streams {
        let topic = types.iter().position(|of| *of == stream.of).map_or(0, |at| at + 1);
        producer.produce(topic, stream.partition, stream.number, &record.key, &record.value, headers())?;
    }
    let delivered = producer.commit(COMMIT)?;
    let sent = producer.end_txns();
    if sent != 1 || delivered.problem.is_some() || delivered.count != streams.len() as u64 + 1 {
        let what = delivered.problem.clone().unwrap_or_default();
        return Err(KafkaError::other(format!("the take-over was no plain success: EndTxn sent {sent} times; {what}")));
    }
    Ok(delivered)
}

/// What the local copy has.
fn replay_copy(host: &Host, from: Lsn, replay: &mut dyn FnMut(&Block) -> Result<(), LogError>) -> Result<(), LogError> {
    let reader = host.copy.reader();
    let end = reader.end();
    for block in reader.iterate(from.min(end), end) {
        let block = block?;
        if block.count() > 0 {
            replay(&block)?;
        }
    }
    Ok(())
}

/// Why a poll ended.
enum Trouble {
    Kafka(usize, KafkaError),
    Log(LogError),
}

/// Reads on where each partition is.
fn consumer(host: &Host, lane: u32, partitions: &[Partition]) -> Result<Consumer, LogError> {
    let assigned = partitions.iter().map(|one| Assigned {
        topic: host.options.events_topic(&one.stream.of),
        partition: one.stream.partition,
        offset: one.next,
    });
    Consumer::new(&host.restore_config(), assigned.collect()).map_err(|e| classify(lane, &e))
}

/// One partition that is being restored.
struct Partition {
    stream: Stream,
    assembler: Assembler,
    /// Offset to go on reading from.
    next: i64,
    /// The record that the copy holds: its offset and number, until it was seen again.
    known: Option<(i64, u64)>,
    /// Numbers of the records that the copy holds and that come next.
    copied: Range<u64>,
    /// Number of the last record that the copy holds, until it was seen: Kafka must have all that the copy has.
    unseen: Option<u64>,
    done: bool,
}

/// Reads Kafka from where the copy ends until our own record is delivered in every partition.
fn restore(
    host: &Host,
    lane: u32,
    streams: &[Stream],
    (nonce, term): (&str, Term),
    replay: &mut dyn FnMut(&Block) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let mut partitions: Vec<Partition> = streams.iter().map(|stream| begin(host, stream)).collect();
    if partitions.is_empty() {
        return Ok(());
    }
    let mut consumer = consumer(host, lane, &partitions)?;
    let mut absent = Absent::default();
    let mut gathered = Gathered { host, lane, term, block: BlockBuilder::new(), seen: BTreeMap::new() };
    let (mut silence, mut asked) = (Stopwatch::start(), Stopwatch::start());
    let mut told = false;
    while partitions.iter().any(|one| !one.done) {
        let each = |place: usize, offset: i64, record: &RecordView<'_>| match partitions.get_mut(place) {
            Some(one) if !one.done => {
                absent.found(place);
                one.take(offset, record, nonce, &mut gathered, replay).map_err(Trouble::Log)
            }
            _ => Ok(()),
        };
        match consumer.poll(Duration::from_millis(500), each, Trouble::Kafka) {
            Ok(0) => {}
            Ok(_) => silence = Stopwatch::start(),
            Err(Trouble::Log(error)) => return Err(error),
            Err(Trouble::Kafka(place, error)) => {
                let at = partitions.get(place).map_or(0, |one| one.next);
                let lost = |what| LogError::Corrupt(format!("lane {lane} cannot be restored: {what}"));
                absent.judge(&consumer, (place, at), &error).map_err(lost)?;
                consumer = self::consumer(host, lane, &partitions)?;
            }
        }
        if !host.placement.is_ours(lane) {
            return Err(LogError::Revoked { lane });
        }
        if silence.elapsed() > SILENCE {
            return Err(LogError::Ambiguous { lane, cause: stuck(host, &partitions) });
        }
        if silence.elapsed().min(asked.elapsed()) > SILENCE_TOLD {
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(lane, "the lane is not ready yet: {}", stuck(host, &partitions));
            }
            // Another one begins with a broker drawn at random; this one asks who leads where it reads.
            consumer = self::consumer(host, lane, &partitions)?;
            asked = Stopwatch::start();
        }
    }
    gathered.flush(replay)
}

/// Why a restore does not end.
fn stuck(host: &Host, partitions: &[Partition]) -> String {
    let topic = |one: &Partition| host.options.events_topic(&one.stream.of);
    let missing = partitions.iter().filter(|one| !one.done);
    let missing: Vec<String> =
        missing.map(|one| format!("{} partition {}", topic(one), one.stream.partition)).collect();
    format!(
        "the record of the take-over is not delivered in {}: an open transaction of somebody else may be in front of it \
         (kafka-transactions.sh find-hanging), or the broker is cut off",
        missing.join(", ")
    )
}

fn begin(host: &Host, stream: &Stream) -> Partition {
    let progress = host.copy.progress(stream.number);
    let topic = host.options.events_topic(&stream.of);
    let mut assembler = Assembler::new(stream.of.clone(), &topic, stream.partition, stream.number);
    assembler.resume(progress.next_sequence, progress.next_command_offset);
    let unseen = progress.next_sequence.checked_sub(1);
    let copied = progress.seen.map_or(0, |(_, number)| number)..progress.next_sequence;
    let next = progress.seen.map_or(0, |(offset, _)| offset);
    Partition { stream: stream.clone(), assembler, next, known: progress.seen, copied, unseen, done: false }
}

/// Answers on their way into the copy and to the lane.
struct Gathered<'a> {
    host: &'a Host,
    lane: u32,
    term: Term,
    block: BlockBuilder,
    seen: BTreeMap<u32, i64>,
}

impl Gathered<'_> {
    fn flush(&mut self, replay: &mut dyn FnMut(&Block) -> Result<(), LogError>) -> Result<(), LogError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        // Written by an earlier owner, whoever that was: the largest term that this can be.
        let at = (self.lane, self.host.layout().lanes, self.term.0.saturating_sub(1));
        let block = self.host.copy.append(at, block, std::mem::take(&mut self.seen))?;
        replay(&block)
    }
}

impl Partition {
    fn take(
        &mut self,
        offset: i64,
        record: &RecordView<'_>,
        nonce: &str,
        into: &mut Gathered<'_>,
        replay: &mut dyn FnMut(&Block) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let sequence = sequence_of(record);
        self.next = offset + 1;
        // Whatever comes first must be what the copy knows: also our own record, where the log was cut off before it.
        if let Some((seen, number)) = self.known.take()
            && (offset != seen || sequence != Some(number))
        {
            return Err(self.changed(seen, number, offset, sequence));
        }
        if self.unseen == sequence {
            self.unseen = None;
        }
        if let Some(owner) = Owner::read(record) {
            self.done = owner.is_ok_and(|owner| owner.nonce == nonce);
            if self.done {
                if let Some(number) = self.unseen {
                    return Err(self.lacking(number, offset));
                }
                return self.assembler.end(u64::try_from(offset).unwrap_or(0));
            }
            return Ok(());
        }
        if sequence == Some(self.copied.start) && !self.copied.is_empty() {
            // The copy has it. One that comes again, or behind a missing one, is not what comes next: it is refused below.
            self.copied.start += 1;
            return Ok(());
        }
        let place = u64::try_from(offset).unwrap_or(0);
        if let Some(restored) = self.assembler.record(place, record)? {
            into.block.push(&restored.head, restored.command, &restored.answer);
            into.seen.insert(self.stream.number, offset);
            if into.block.len() >= BLOCK_BYTES || into.block.count() >= BLOCK_ANSWERS {
                into.flush(replay)?;
            }
        }
        Ok(())
    }

    fn lacking(&self, number: u64, offset: i64) -> LogError {
        LogError::Corrupt(format!(
            "the local copy holds record {number} of {}.events partition {}, but Kafka has no such record before offset {offset}: \
             the topic was truncated or made anew. If Kafka is right, delete the folder `kafka` in the data folder",
            self.stream.of, self.stream.partition
        ))
    }

    fn changed(&self, seen: i64, number: u64, offset: i64, sequence: Option<u64>) -> LogError {
        let sequence = sequence.map_or_else(|| "no number".to_owned(), |n| n.to_string());
        LogError::Corrupt(format!(
            "the local copy knows record {number} at offset {seen} of {}.events partition {}, but Kafka now has {sequence} at \
             {offset}: the topic was truncated or made anew. If Kafka is right, delete the folder `kafka` in the data folder",
            self.stream.of, self.stream.partition
        ))
    }
}

/// The dense number of a record, if it says one.
fn sequence_of(record: &RecordView<'_>) -> Option<u64> {
    let name = name::LOG_SEQUENCE.to_bytes();
    let value = record.headers.iter().find(|(one, _)| *one == name)?.1?;
    std::str::from_utf8(value).ok()?.parse().ok()
}
