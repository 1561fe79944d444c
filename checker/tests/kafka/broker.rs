//! The same on a real broker, if there is one: `ORDAIN_TEST_KAFKA=host:port` (`cargo xtask kafka up` starts one).

use std::time::Duration;

use ordain_checker::Kind::*;
use ordain_checker::Report;
use ordain_checker::history::read::History;
use ordain_checker::kafka::{self, Broker, Cluster, Options};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::util::Timeout;
use serde_json::json;

use super::builder::{Answer, Golden, LANES, Mem, PARTITIONS, Rec, V1};

const WAIT: Timeout = Timeout::After(Duration::from_secs(20));

/// A log of its own in the broker.
struct Real {
    brokers: String,
    prefix: String,
    producer: BaseProducer,
    /// For commands, which come from anybody.
    plain: BaseProducer,
}

impl Real {
    fn new() -> Option<Self> {
        let Ok(brokers) = std::env::var("ORDAIN_TEST_KAFKA") else {
            println!("skipped: ORDAIN_TEST_KAFKA names no broker; `cargo xtask kafka up` starts one");
            return None;
        };
        let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let prefix = format!("checker-{}-{nanos}.", std::process::id());
        let plain = ClientConfig::new().set("bootstrap.servers", &brokers).set("linger.ms", "0").create().unwrap();
        let real = Self { producer: producer(&brokers, &prefix), plain, brokers, prefix };
        real.topics();
        Some(real)
    }

    fn topics(&self) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap();
        let names = ["account.commands", "account.events", "lanes"].map(|name| format!("{}{name}", self.prefix));
        let topics = names.iter().map(|name| {
            let partitions = if name.ends_with("lanes") { LANES } else { PARTITIONS };
            NewTopic::new(name, partitions.cast_signed(), TopicReplication::Fixed(1))
        });
        let topics: Vec<_> = topics.collect();
        let created = finished(admin.create_topics(&topics, &AdminOptions::new()));
        assert!(created.unwrap().iter().all(Result::is_ok));
    }

    fn send(&self, producer: &BaseProducer, topic: &str, partition: u32, record: &Rec) {
        let topic = format!("{}{topic}", self.prefix);
        let headers = record.headers().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value }));
        let mut message: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&topic).partition(partition.cast_signed()).headers(headers);
        (message.key, message.payload) = (record.key.as_deref(), record.value.as_deref());
        producer.send(message).map_err(|(error, _)| error).unwrap();
    }

    /// Writes a log that was made in memory. A commit ends where the model's offsets leave one out, so that the broker
    /// gives the records the offsets that they have in the model.
    fn write(&self, golden: &Golden) {
        for ((topic, partition), mem) in &golden.topics {
            self.write_part(topic, *partition, mem);
        }
    }

    fn write_part(&self, topic: &str, partition: u32, mem: &Mem) {
        let transactional = topic != "account.commands";
        let mut open = false;
        for (index, record) in mem.records.iter().enumerate() {
            if transactional && !open {
                self.producer.begin_transaction().unwrap();
                open = true;
            }
            let by = if transactional { &self.producer } else { &self.plain };
            self.send(by, topic, partition, record);
            by.flush(WAIT).unwrap();
            let joined = mem.records.get(index + 1).is_some_and(|next| next.offset == record.offset + 1);
            if open && !joined {
                self.producer.commit_transaction(WAIT).unwrap();
                open = false;
            }
        }
    }

    fn judge(&self, patience: u64) -> Report {
        let broker = Broker { patience: Duration::from_secs(patience), ..Broker::new(&self.brokers, &self.prefix) };
        let options = Options { rules: vec![(V1.to_owned(), "v1".to_owned())], ..Options::default() };
        kafka::judge(&mut Cluster::open(&broker).unwrap(), &History::gather(&[]).unwrap(), &options).unwrap()
    }
}

fn producer(brokers: &str, id: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("transactional.id", id)
        .set("linger.ms", "0")
        .create()
        .unwrap();
    producer.init_transactions(WAIT).unwrap();
    producer
}

/// Waits for the client library's own thread to finish a future.
fn finished<T>(future: impl Future<Output = T>) -> T {
    struct Thread(std::thread::Thread);
    impl std::task::Wake for Thread {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(std::sync::Arc::new(Thread(std::thread::current())));
    let (mut future, mut context) = (std::pin::pin!(future), std::task::Context::from_waker(&waker));
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}

/// Every outcome, several owners, repeats, and poison.
fn legal() -> Golden {
    let mut golden = Golden::story();
    golden.take(0);
    let step = golden.deposit("acc-1", 7);
    golden.again(step);
    golden.conflict("acc-1", 9);
    golden.take(1);
    golden.add("acc-2", None, json!({"Nonsense": 1}), Answer::Failed("unreadable", "unknown variant"));
    for account in 0..20 {
        golden.open(&format!("more-{account}"));
    }
    golden.close("acc-1");
    golden.add("acc-1", None, json!({"Rename": {"owner": "bob"}}), Answer::Rejected(json!("Closed")));
    golden
}

#[test]
fn a_legal_log_a_damaged_one_and_an_open_transaction() {
    let Some(real) = Real::new() else { return };
    let mut golden = legal();
    let before = golden.judge_alone();
    real.write(&golden);
    let report = real.judge(20);
    assert!(report.holds(), "{report}");
    assert_eq!((report.records, report.events), (before.records, before.events), "{report}");
    assert_eq!(report.outcomes, before.outcomes);

    // An aborted transaction leaves nothing to judge.
    real.producer.begin_transaction().unwrap();
    let stray = golden.event(0, 0).clone();
    real.send(&real.producer, "account.events", 0, &stray);
    real.producer.flush(WAIT).unwrap();
    real.producer.abort_transaction(WAIT).unwrap();
    let report = real.judge(20);
    assert!(report.holds(), "{report}");

    // A command that nobody answers, without key, value or a header's value.
    let record = Rec { key: None, value: None, offset: 0, headers: vec![("x".into(), None)] };
    real.send(&real.plain, "account.commands", 0, &record);
    real.plain.flush(WAIT).unwrap();
    let report = real.judge(20);
    assert_eq!(report.found(), [Unanswered], "{report}");

    // What was committed twice is shown with what lies around it.
    real.producer.begin_transaction().unwrap();
    let answer = golden.steps.iter().position(|step| step.partition == 0).expect("some account lives there");
    let mut again = golden.event(answer, 0).clone();
    again.set("ce_logsequence", "99");
    real.send(&real.producer, "account.events", 0, &again);
    real.producer.commit_transaction(WAIT).unwrap();
    let report = real.judge(20);
    let found = report.found();
    assert!(
        [SequenceHole, Doubled, CommandAnsweredTwice, Unanswered].iter().all(|kind| found.contains(kind)),
        "{report}"
    );
    let doubled = report.violations.iter().find(|violation| violation.kind == Doubled).unwrap();
    assert!(doubled.log.iter().any(|line| line.starts_with("> ")), "{doubled}");

    // A transaction that stays open is waited for, then named.
    let foreign = producer(&real.brokers, &format!("{}foreign", real.prefix));
    foreign.begin_transaction().unwrap();
    real.send(&foreign, "account.events", 1, &stray);
    foreign.flush(WAIT).unwrap();
    let report = real.judge(1);
    assert!(report.found().contains(&OpenTransaction), "{report}");
    foreign.abort_transaction(WAIT).unwrap();
    assert!(!real.judge(20).found().contains(&OpenTransaction));
}
