//! R1, R2, R4 and R5 on a real broker, each as the story of what goes wrong without it.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::super::feed::{Feed, OVERDUE};
use super::super::ffi::producer::Producer;
use super::super::records::writer::Writer;
use super::*;
use crate::clock::Stopwatch;
use crate::engine::{Awaited, Reply};
use crate::lane::inbox::Inbox;
use crate::log::conformance::owner::{Owner, id_of, records};
use crate::log::{Block, LogError};
use crate::message::{Command, CommandId, partition_of};

/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a thing is watched that must not happen.
const WATCH: Duration = Duration::from_millis(1500);

fn texts(blocks: &[Block]) -> Vec<String> {
    records(blocks).into_iter().map(|(text, _)| text).collect()
}

impl Real {
    fn events(&self) -> String {
        self.log.host.options.events_topic(&Fixed.types()[0])
    }

    fn commands(&self) -> String {
        self.log.host.options.commands_topic(&Fixed.types()[0])
    }

    fn producer(&self, properties: &[(&str, &str)]) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.log.host.options.brokers);
        for (name, value) in properties {
            config.set(*name, *value);
        }
        config.create().expect("a producer")
    }
}

/// The partition that the owners of lane 0 write to.
fn partition() -> i32 {
    partition_of(&id_of(0), PARTITIONS).cast_signed()
}

/// A paused owner woke up, was told that it is fenced, made itself a new producer and went on deciding on what it knew:
/// what the other had decided meanwhile was decided again.
#[test]
fn an_overtaken_owner_reads_what_it_missed_before_it_goes_on() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    let mut first = Owner::taken(&real, 0);
    first.write("a");
    let mut second = Owner::taken(&real, 0);
    second.write("b");
    let stale = first.commit(first.block("stale")).expect_err("somebody else owns the lane");
    assert!(matches!(stale, LogError::Fenced { .. }), "{stale}");
    first.take(Lsn(0)).expect("the lane can be had");
    assert_eq!(texts(&first.replayed), ["a", "b"]);
    first.write("c");
    assert_eq!(texts(&Owner::taken(&real, 0).replayed), ["a", "b", "c"]);
}

/// A commit came back as an error although it had happened. The owner took it for lost, and gave its numbers to the next.
#[test]
fn nothing_goes_on_after_a_commit_that_was_no_plain_success() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    let mut owner = Owner::taken(&real, 0);
    owner.write("a");
    real.make_doubtful(0, true);
    owner.commit(owner.block("b")).expect_err("doubt is no success");
    owner.commit(owner.block("instead of b")).expect_err("the lane must be taken anew first");
    assert_eq!(texts(&Owner::taken(&real, 0).replayed), ["a", "b"]);
}

/// Behind a transaction of somebody else that was open, commits were answered and yet no reader saw them. A new owner
/// that read to the end it was told decided the first command again.
#[test]
fn a_restore_waits_for_its_own_record_behind_an_open_transaction() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    let mut first = Owner::taken(&real, 0);
    let id = format!("{}foreign", real.log.host.options.prefix);
    let foreign = real.producer(&[("transactional.id", &id), ("transaction.timeout.ms", "60000")]);
    foreign.init_transactions(PATIENCE).expect("is let in");
    foreign.begin_transaction().expect("begins");
    let events = real.events();
    foreign.send(BaseRecord::to(&events).partition(partition()).key("x").payload("x")).expect("is sent");
    foreign.flush(PATIENCE).expect("is written");
    first.write("answered");
    std::thread::scope(|scope| {
        let taking = scope.spawn(|| Owner::taken(&real, 0));
        let since = Stopwatch::start();
        while since.elapsed() < WATCH && !taking.is_finished() {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let early = taking.is_finished();
        foreign.abort_transaction(PATIENCE).expect("is taken back");
        let second = taking.join().expect("the lane can be had");
        assert_eq!(texts(&second.replayed), ["answered"]);
        assert!(!early, "a lane was taken whose answers could not be read");
    });
}

/// Writes the records of an answer to the topic of events, as somebody who is no owner.
fn intrude(real: &Real, block: &BlockBuilder) {
    let topics = [real.events()];
    let producer = Producer::new(&real.log.host.append_config(&topics), &topics).expect("a producer");
    let mut writer = Writer::new("/somebody/else", ValueForm::Json);
    for (_, entry) in block.entries() {
        let each = |record: super::super::records::Outgoing<'_>| {
            let headers = record.headers.iter().map(|&(name, value)| (name, value));
            producer.produce(0, entry.partition, 0, record.key, record.value, headers)
        };
        writer.entry(&entry, 0, None, each).expect("is handed over");
    }
    assert!(producer.flush(PATIENCE).count > 0, "is delivered");
}

/// A record was missing, and the lane counted on from the one behind it.
#[test]
fn a_gap_in_the_numbers_is_refused() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    let mut owner = Owner::taken(&real, 0);
    owner.write("a");
    // As if the one in between had been lost.
    owner.next += 1;
    intrude(&real, &owner.block("c"));
    let error = Owner::new(&real, 0).take(Lsn(0)).expect_err("a record is missing");
    let text = error.to_string();
    let named = ["ce_logsequence 2", "1 comes next", &real.events(), "nothing is decided on such a log"];
    assert!(matches!(error, LogError::Corrupt(_)) && named.iter().all(|word| text.contains(word)), "{text}");
}

/// Somebody wrote the last record once more. A host whose copy had the first one took the second for the same.
#[test]
fn a_record_that_comes_again_is_refused_with_a_copy_too() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    let copy = tempfile::tempdir().expect("a folder");
    let mut owner = Owner::taken(&real, 0);
    owner.write("a");
    owner.write("b");
    let take = || real.lane_in(copy.path(), 0, Box::new(|_| {})).take(Lsn(0), &mut |_| Ok(()));
    take().expect("the lane can be had");
    owner.next = 1;
    intrude(&real, &owner.block("b"));
    let error = take().expect_err("a record is there twice");
    let text = error.to_string();
    assert!(matches!(error, LogError::Corrupt(_)) && text.contains("ce_logsequence 1, but 2 comes next"), "{text}");
}

/// Commands of one key, as some producer sends them; each value is its number.
fn send(real: &Real, numbers: std::ops::Range<u32>) {
    let (topic, key) = (real.commands(), id_of(0));
    let producer = real.producer(&[]);
    for n in numbers {
        let value = n.to_string();
        producer.send(BaseRecord::to(&topic).partition(partition()).key(&key).payload(&value)).expect("is sent");
    }
    producer.flush(PATIENCE).expect("is written");
}

/// A feed of lane 0 of a host, whose next command in [`partition`] is at `next`.
fn feed(log: &KafkaLog, next: u64) -> (Feed, Arc<Inbox>) {
    feed_awaited(log, next, Arc::default())
}

/// The same, with those who wait for answers.
fn feed_awaited(log: &KafkaLog, next: u64, awaited: Arc<Awaited>) -> (Feed, Arc<Inbox>) {
    let streams = log.host.streams(0, &Fixed.types()).expect("are known");
    let next =
        streams.iter().map(|one| (one.number, if one.partition.cast_signed() == partition() { next } else { 0 }));
    let inbox = Arc::new(Inbox::new(100, 1 << 20));
    let next: Vec<_> = next.collect();
    let feed = Feed::start(&log.host, &streams, &next, Arc::clone(&inbox), awaited);
    (feed.expect("starts"), inbox)
}

/// What a feed says that cannot go on.
fn complaint(feed: &Feed) -> String {
    let since = Stopwatch::start();
    loop {
        if let Some(problem) = feed.problem() {
            assert!(problem.contains("commands cannot be read on") && problem.contains("docs/kafka.md"), "{problem}");
            return problem;
        }
        assert!(since.elapsed() < PATIENCE, "commands are missing, and nobody says so");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Commands were deleted before they were read, or their topic was cut off. The reader was moved to the next one that
/// there was, without a word.
#[test]
fn commands_that_are_missing_stop_the_feed() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    send(&real, 0..6);
    super::whole::truncate(&real.log.host.options.brokers, &real.commands(), partition(), 4);
    for (next, says) in [(2, "begins at offset 4"), (100, "nothing at offset 100")] {
        let (feed, inbox) = feed(&real.log, next);
        let problem = complaint(&feed);
        assert!(problem.contains(says), "{problem}");
        drop(feed);
        inbox.begin_feed();
    }
}

/// A leader that was cut off from its controller has fewer commands than there are. A host that met it took them for lost
/// and ended, where the others came a moment later.
#[test]
fn a_feed_waits_for_commands_that_its_leader_may_have_yet_to_show() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    send(&real, 0..2);
    let (feed, inbox) = feed(&real.log, 4);
    std::thread::park_timeout(WATCH);
    send(&real, 2..6);
    let read = fed(&inbox, 2);
    assert_eq!((read, feed.problem()), (vec![4, 5], None));
}

/// A consumer went on reading from a leader that was cut off, which had nothing new, while commands were appended.
#[test]
fn a_feed_that_lacks_what_somebody_waits_for_begins_anew_and_repeats_nothing() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    send(&real, 0..2);
    let awaited = Arc::<Awaited>::default();
    let (feed, inbox) = feed_awaited(&real.log, 0, Arc::clone(&awaited));
    assert_eq!(fed(&inbox, 2), [0, 1]);
    let (reply, _answer) = tokio::sync::oneshot::channel();
    let stream = partition().cast_unsigned();
    awaited.expect(stream, 2, Reply::Once(reply), None);
    std::thread::park_timeout(OVERDUE + WATCH);
    send(&real, 2..4);
    assert_eq!((fed(&inbox, 2), feed.problem()), (vec![2, 3], None));
}

/// Offsets of the commands that came.
fn fed(inbox: &Inbox, count: usize) -> Vec<u64> {
    let since = Stopwatch::start();
    let mut read = Vec::new();
    while read.len() < count && since.elapsed() < PATIENCE {
        let work = inbox.take(10, Some(Duration::from_millis(50)));
        read.extend(work.commands.iter().map(|one| one.command.offset.expect("was read from a topic")));
    }
    read
}

/// A topic of commands was cut off behind the hosts' backs, and new commands came to stand at the offsets of the old ones,
/// also of those that had been answered. Nobody noticed, and those in between were never answered.
#[test]
fn a_feed_goes_on_only_behind_the_command_that_was_answered_last() {
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    send(&real, 0..3);
    for (value, is_the_same) in [(0, true), (7, false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = Copy::open(folder.path(), "answered", segment::Options::default()).expect("opens");
        let body = rmp_serde::to_vec(&value).expect("a number");
        let answered = Command {
            command_id: CommandId::parse(&format!("{}-{}-0", real.commands(), partition())).expect("an id"),
            body_hash: crate::json::body_hash(&body),
            ..command(&id_of(0), PARTITIONS, &body)
        };
        let mut block = BlockBuilder::new();
        let head = EntryHead { sequence: 0, command_offset: 0, version: 1, module: Digest([7; 32]) };
        block.push(&head, &answered, &Answer::Accepted { count: 1, events: b"event" });
        copy.append((0, LANES, 0), block, []).expect("is taken");
        let (feed, inbox) = feed(&real.host(copy, Arc::new(Fixed)), 1);
        if is_the_same {
            assert_eq!((fed(&inbox, 2), feed.problem()), (vec![1, 2], None));
        } else {
            let problem = complaint(&feed);
            assert!(problem.contains("another one was at 0 and is gone"), "{problem}");
        }
    }
}

/// Rules of another type became active while a lane was being taken. The lane had asked for its streams before that, and
/// nobody decided the other type's commands until the next start.
#[test]
fn a_type_that_becomes_active_during_a_take_is_taken_next() {
    struct Growing(Mutex<Vec<AggregateType>>);
    impl Placement for Growing {
        fn is_ours(&self, _: u32) -> bool {
            true
        }
        fn types(&self) -> Vec<AggregateType> {
            self.0.lock().unwrap().clone()
        }
        fn modules(&self) -> BTreeMap<String, Digest> {
            BTreeMap::new()
        }
    }
    let Some(brokers) = brokers() else { return };
    let real = Real::new(&brokers);
    let folder = tempfile::tempdir().expect("a folder");
    let copy = Copy::open(folder.path(), "types", segment::Options::default()).expect("opens");
    let types = Arc::new(Growing(Mutex::new(Fixed.types())));
    let mut lane = real.host(copy, Arc::clone(&types) as Arc<dyn Placement>).lane(0, None, Box::new(|_| {}));
    let before = lane.streams().expect("are known");
    types.0.lock().unwrap().push(AggregateType::parse("counter").expect("a type"));
    lane.take(Lsn(0), &mut |_| Ok(())).expect("the lane can be had");
    assert_eq!(lane.stream_of("counter", partition().cast_unsigned()), None, "it was not asked for yet");
    assert!(lane.wants_new_take(), "and must be");
    let after = lane.streams().expect("are known");
    assert_eq!(after.len(), 2 * before.len());
    lane.take(Lsn(0), &mut |_| Ok(())).expect("the lane can be had");
    assert!(!lane.wants_new_take() && lane.stream_of("counter", partition().cast_unsigned()).is_some());
}
