//! Whole lanes on a real broker, with native rules: what is in the records must not stop them (R6).

use std::time::Duration;

use bank_account::Account;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::super::records::command::unrouted;
use super::super::topics::rules::{self, Role};
use super::*;
use crate::clock::Stopwatch;
use crate::decider::native::NativeRules;
use crate::engine::{Answered, Awaited};
use crate::history;
use crate::lane::Settings;
use crate::lane::supervisor::{Lanes, Shared};
use crate::log::test_kit::Dice;
use crate::message::{AggregateId, FailureReason};
use crate::store::Store;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a client")
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// Deletes the records of a partition below an offset.
pub(super) fn truncate(brokers: &str, topic: &str, partition: i32, below: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(below)).expect("a list");
    block_on(admin(brokers).delete_records(&list, &AdminOptions::new())).expect("are deleted");
}

/// A host of its own on the log of a [`Real`].
struct Whole {
    log: KafkaLog,
    lanes: Lanes,
    _folder: TempDir,
}

impl Whole {
    fn start(real: &Real) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = real.log.host.options.clone();
        let log = KafkaLog::open(options, &folder.path().join("kafka"), segment::Options::default(), Arc::new(Fixed));
        let log = log.expect("opens");
        let store = Store::open(&folder.path().join("store"), log.copy().id(), log.copy().end(), log.streams_max());
        let maker = log.clone();
        let shared = Shared {
            log: Box::new(move |lane, inbox, on_committed| {
                Box::new(maker.lane(lane, Some((Arc::clone(inbox), Arc::<Awaited>::default())), on_committed))
            }),
            history: log.copy().reader(),
            store: Arc::new(store.expect("opens")),
            book: NativeRules::<Account>::book(),
            settings: Settings {
                lane: 0,
                lanes: LANES,
                partitions: PARTITIONS,
                batch_commands_max: 1024,
                batch_bytes_max: 4 << 20,
                resident_aggregates_max: 1_000_000,
                decider_bytes_max: usize::MAX,
                checkpoint_aggregates: 10_000,
                checkpoint_ms: 10_000,
                checkpoint_log_bytes: 64 << 20,
            },
            queue_commands_max: 8192,
            queue_bytes_max: 64 << 20,
        };
        Self { log, lanes: Lanes::start(shared).expect("start"), _folder: folder }
    }

    /// The answer to the command at an offset of an aggregate's partition.
    fn answer(&self, id: &str, offset: u64) -> Answered {
        let (of, id) = (Fixed.types().remove(0), AggregateId::parse(id).expect("an id"));
        let since = Stopwatch::start();
        loop {
            if let Some(answered) = history::answer_at(&*self.log.copy().reader(), &of, &id, offset).expect("is read") {
                return answered;
            }
            let ended = self.lanes.wait(Duration::from_millis(10));
            assert!(ended.is_none(), "a lane ended: {ended:?}");
            assert!(since.elapsed() < PATIENCE, "the command of {id} at {offset} has no answer");
        }
    }

    fn accepted(&self, id: &str, offset: u64) {
        let answered = self.answer(id, offset);
        assert!(matches!(answered.entry().answer, Answer::Accepted { .. }), "{:?}", answered.entry());
    }

    fn failed(&self, id: &str, offset: u64, wanted: FailureReason) {
        let answered = self.answer(id, offset);
        assert!(
            matches!(answered.entry().answer, Answer::Failed { reason, .. } if reason == wanted),
            "{:?}",
            answered.entry()
        );
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.lanes.stop();
    }
}

/// Writes commands to one partition of a log.
struct Sender {
    producer: BaseProducer,
    topic: String,
    partition: i32,
    next: u64,
}

impl Sender {
    fn new(real: &Real, partition: u32) -> Self {
        let options = &real.log.host.options;
        let producer = ClientConfig::new().set("bootstrap.servers", &options.brokers).create().expect("a producer");
        let topic = options.commands_topic(&Fixed.types()[0]);
        Self { producer, topic, partition: partition.cast_signed(), next: 0 }
    }

    /// Returns the command's offset.
    fn send(&mut self, key: Option<&str>, value: &str) -> u64 {
        let mut record = BaseRecord::<str, str>::to(&self.topic).partition(self.partition).payload(value);
        record.key = key;
        self.producer.send(record).expect("is sent");
        self.producer.flush(PATIENCE).expect("is written");
        self.next += 1;
        self.next - 1
    }
}

/// Bounds the topic of events, with all else as it is made.
fn bound_events(real: &Real, bytes: &str) {
    let topic = real.log.host.options.events_topic(&Fixed.types()[0]);
    let settings = rules::settings(Role::Events, 1);
    let others = settings.iter().filter(|(name, _)| *name != "max.message.bytes");
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", bytes);
    let change = others.fold(change, |change, (name, value)| change.set(name, value));
    let changed = block_on(admin(&real.log.host.options.brokers).alter_configs([&change], &AdminOptions::new()));
    changed.expect("is answered").pop().expect("one").expect("is changed");
}

const DEPOSIT: &str = r#"{"Deposit":{"amount":5}}"#;

fn opening(owner_bytes: usize) -> String {
    // Nothing that compression makes smaller: brokers compare what comes over the wire.
    let mut dice = Dice(owner_bytes as u64);
    let owner: String = (0..owner_bytes).map(|_| char::from(b'!' + dice.below(90) as u8)).collect();
    let owner = owner.replace(['"', '\\'], "_");
    format!(r#"{{"Open":{{"owner":"{owner}","overdraft_limit":100}}}}"#)
}

fn ids_in(partition: u32) -> impl Iterator<Item = String> {
    (0..).map(|n| format!("acc-{n}")).filter(move |id| partition_of(id, PARTITIONS) == partition)
}

/// An event was larger than its topic took. The commit failed, the lane was taken anew, the command came again, and so
/// on for ever; every other account of the lane waited.
#[test]
fn an_answer_that_its_topic_does_not_take_fails_alone() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    let mut sender = Sender::new(&real, 3);
    let ids: Vec<_> = ids_in(3).take(4).collect();
    bound_events(&real, "65536");
    let host = Whole::start(&real);
    host.accepted(&ids[0], sender.send(Some(&ids[0]), &opening(3)));
    let at = sender.send(Some(&ids[1]), &opening(100_000));
    host.failed(&ids[1], at, FailureReason::TooLarge);
    host.accepted(&ids[0], sender.send(Some(&ids[0]), DEPOSIT));
    // What was decided before the answer was found too large is gone: the account can still be opened.
    host.accepted(&ids[1], sender.send(Some(&ids[1]), &opening(3)));
    bound_events(&real, "1048588");
    drop(host);
    let host = Whole::start(&real);
    let large = sender.send(Some(&ids[2]), &opening(100_000));
    host.accepted(&ids[2], large);
    // Lowered while the lane runs: the broker's refusal is the first that it hears of it.
    bound_events(&real, "65536");
    let offsets: Vec<_> =
        (0..20)
            .map(|n| {
                if n == 11 {
                    sender.send(Some(&ids[3]), &opening(100_000))
                } else {
                    sender.send(Some(&ids[0]), DEPOSIT)
                }
            })
            .collect();
    for (n, offset) in offsets.into_iter().enumerate() {
        if n == 11 { host.failed(&ids[3], offset, FailureReason::TooLarge) } else { host.accepted(&ids[0], offset) }
    }
}

/// A record that cannot be read was put aside, to be looked at later: it was never answered, and whoever restored the
/// lane could not tell it from one that was lost.
#[test]
fn a_record_that_cannot_be_read_is_answered_in_its_turn() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    let mut sender = Sender::new(&real, 5);
    let id = ids_in(5).next().expect("there are many");
    let host = Whole::start(&real);
    host.accepted(&id, sender.send(Some(&id), &opening(3)));
    let (no_key, no_json) = (sender.send(None, DEPOSIT), sender.send(Some(&id), "hello"));
    host.accepted(&id, sender.send(Some(&id), DEPOSIT));
    let stream = host.log.stream_of(&Fixed.types()[0], 5).expect("is known");
    host.failed(&unrouted(stream), no_key, FailureReason::Unreadable);
    host.failed(&id, no_json, FailureReason::Unreadable);
}
