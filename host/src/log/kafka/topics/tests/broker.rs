//! The same against a real broker: its address stands in `ORDAIN_TEST_KAFKA`, and nothing is tried without it.

use std::cell::Cell;
use std::sync::{Arc, Barrier};

use rdkafka::admin::{NewPartitions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::log::kafka::KafkaLog;
use crate::log::kafka::tests::Fixed;
use crate::log::{LaneLog as _, Lsn, segment};
use crate::message::CommandId;

/// A fresh prefix on the broker, which is cleared away afterwards; `None` where there is no broker.
struct Place(Cluster);

impl Drop for Place {
    fn drop(&mut self) {
        let topics = self.0.topics().unwrap_or_default();
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        if !names.is_empty() {
            let _ = wait(self.0.admin.delete_topics(&names, &AdminOptions::new()), REQUEST);
        }
    }
}

fn place(change: impl FnOnce(&mut Options)) -> Option<Place> {
    let Ok(brokers) = std::env::var("ORDAIN_TEST_KAFKA") else {
        println!("skipped: set ORDAIN_TEST_KAFKA to the address of a broker");
        return None;
    };
    let fresh = CommandId::fresh();
    let mut options = Options { brokers, ..options(&format!("t-{fresh}.")) };
    (options.partitions, options.lanes) = (Some(4), Some(3));
    change(&mut options);
    Some(Place(Cluster::connect(&options).unwrap()))
}

impl Place {
    fn again(&self, change: impl FnOnce(&mut Options)) -> Cluster {
        let mut options = self.0.options.clone();
        change(&mut options);
        Cluster::connect(&options).unwrap()
    }

    fn topic(&self, rest: &str) -> String {
        format!("{}{rest}", self.0.options.prefix)
    }

    /// Makes a topic as it should be but for one setting.
    fn make(&self, rest: &str, role: Role, partitions: i32, setting: Option<(&str, &str)>) {
        let (topic, copies) = (self.topic(rest), self.0.replication());
        let mut settings = rules::settings(role, copies);
        if let Some((name, value)) = setting {
            settings.retain(|(known, _)| *known != name);
            settings.push((name, value));
        }
        let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(copies.cast_signed()));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        let options = AdminOptions::new().operation_timeout(Some(REQUEST));
        wait(self.0.admin.create_topics([&new], &options), REQUEST).unwrap().unwrap()[0].as_ref().unwrap();
        self.0.appeared(&topic).unwrap();
    }

    fn delete(&self, rest: &str) {
        let topic = self.topic(rest);
        let options = AdminOptions::new().operation_timeout(Some(REQUEST));
        wait(self.0.admin.delete_topics(&[&topic], &options), REQUEST).unwrap().unwrap()[0].as_ref().unwrap();
        let since = Stopwatch::start();
        while !self.0.known_once(&[&topic]).unwrap().is_empty() {
            assert!(since.elapsed() < APPEARANCE, "{topic} does not go away");
            pause(Duration::from_millis(20));
        }
    }

    fn send(&self, rest: &str, partition: i32, key: &str, value: &[u8]) {
        let producer: BaseProducer = self.0.options.client().create().unwrap();
        producer.send(BaseRecord::to(&self.topic(rest)).partition(partition).key(key).payload(value)).unwrap();
        producer.flush(REQUEST).unwrap();
    }

    /// Everything that a check says.
    fn line(&self, types: &[AggregateType]) -> String {
        lines(&self.0, types)
    }

    fn refused(&self, types: &[AggregateType]) -> String {
        self.0.open(types).unwrap_err().to_string()
    }
}

fn lines(cluster: &Cluster, types: &[AggregateType]) -> String {
    let (_, _, problems) = cluster.inspect(types).unwrap();
    problems.iter().map(|one| format!("{:?} {one}\n", one.severity)).collect()
}

#[test]
fn what_is_made_passes_and_is_found_again() {
    let Some(place) = place(|_| {}) else { return };
    let (layout, topics, problems) = place.0.inspect(&[]).unwrap();
    assert_eq!((layout, topics.len(), refusal(&problems)), (None, 0, None));
    holds(&place.line(&[]), &[&place.topic("lanes"), "topic is missing", "a host makes it"]);
    let both = place.line(&[name("account")]);
    holds(&both, &[&place.topic("account.commands"), &place.topic("account.events"), "`ordain topics create account`"]);
    let first = place.0.open(&[name("account")]).unwrap();
    let (commands, events) = (place.topic("account.commands"), place.topic("account.events"));
    let mut created = first.created.clone();
    created.sort();
    assert_eq!(created, [commands.clone(), events, place.topic("lanes")]);
    assert_eq!((first.layout.partitions, first.layout.lanes, first.layout.generation), (4, 3, 1));
    assert_eq!(first.layout.cluster_id, place.0.cluster_id());
    let taken = place.0.max_message_bytes(std::slice::from_ref(&commands)).unwrap();
    assert_eq!(taken, [(commands, 4 * 1024 * 1024)].into());
    // Settings that say nothing take what is there.
    let since = Stopwatch::start();
    let again = place.again(|options| (options.partitions, options.lanes) = (None, None));
    let reopened = again.open(&[name("account")]).unwrap();
    println!("a start on a log that is there: {:?}", since.elapsed());
    assert_eq!((reopened.layout.clone(), reopened.created), (first.layout.clone(), Vec::new()));
    assert_eq!(again.verify(&first.layout).unwrap(), []);
    let (inspected, topics, problems) = again.inspect(&[]).unwrap();
    assert_eq!((inspected, topics.len(), refusal(&problems)), (Some(first.layout.clone()), 3, None));
    let more = again.open(&[name("counter")]).unwrap();
    assert_eq!(more.layout.types.iter().map(|one| one.slot).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(more.layout.types[0], first.layout.types[0]);
}

#[test]
fn each_wrong_setting_on_a_broker_is_named() {
    use Role::{Commands, Events};
    let wrong = [
        ("account.events", Events, "cleanup.policy", "compact,delete"),
        ("account.events", Events, "retention.ms", "604800000"),
        ("account.events", Events, "retention.bytes", "1000000"),
        ("account.events", Events, "message.timestamp.type", "CreateTime"),
        ("account.commands", Commands, "cleanup.policy", "compact,delete"),
        ("account.commands", Commands, "retention.ms", "604800000"),
        ("account.commands", Commands, "retention.bytes", "1000000"),
    ];
    for (topic, role, setting, value) in wrong {
        let Some(place) = place(|_| {}) else { return };
        place.make(topic, role, 4, Some((setting, value)));
        let repair = format!("{setting}=");
        holds(&place.refused(&[name("account")]), &[&place.topic(topic), setting, value, "kafka-configs.sh", &repair]);
    }
    let Some(place) = place(|_| {}) else { return };
    place.make("account.commands", Commands, 5, None);
    holds(
        &place.refused(&[name("account")]),
        &[&place.topic("account.commands"), "number of partitions is 5, should be 4"],
    );
}

#[test]
fn what_changes_after_a_start_is_refused_at_the_next_and_seen_while_running() {
    let Some(place) = place(|_| {}) else { return };
    let layout = place.0.open(&[name("account")]).unwrap().layout;
    let events = place.topic("account.events");
    let more = NewPartitions::new(&events, 6);
    let options = AdminOptions::new().operation_timeout(Some(REQUEST));
    wait(place.0.admin.create_partitions([&more], &options), REQUEST).unwrap().unwrap()[0].as_ref().unwrap();
    holds(&place.refused(&[]), &[&events, "number of partitions is 6, should be 4", "delete all its topics"]);
    holds(&place.0.verify(&layout).unwrap()[0].to_string(), &[&events, "number of partitions is 6"]);

    let fixed = place.again(|options| options.partitions = Some(8)).open(&[]).unwrap_err().to_string();
    holds(&fixed, &["partitions is 8 in the settings, should be 4", "set `partitions = 4`"]);
    let fixed = place.again(|options| options.lanes = Some(2)).open(&[]).unwrap_err().to_string();
    holds(&fixed, &["lanes is 2 in the settings, should be 3", "set `lanes = 3`"]);

    // What the refusal advises for a log without commands.
    for rest in ["account.commands", "account.events", "lanes"] {
        place.delete(rest);
    }
    let anew = place.0.open(&[name("account")]).unwrap().layout;
    assert_ne!(anew.types[0].events_topic_id, layout.types[0].events_topic_id);
}

/// R3 while hosts run: what is decided on other topics than those of the layout would be decided twice.
#[test]
fn a_running_host_notices_topics_that_changed() {
    let Some(place) = place(|_| {}) else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = place.0.options.clone();
    let log = KafkaLog::open(options, folder.path(), segment::Options::default(), Arc::new(Fixed)).unwrap();
    let (to, told) = std::sync::mpsc::sync_channel(1);
    let _watch = log.keep_agreement(move |why| drop(to.send(why))).unwrap();
    let mut lane = log.lane(0, None, Box::new(|_| {}));
    lane.take(Lsn(0), &mut |_| Ok(())).unwrap();
    place.delete("account.events");
    place.make("account.events", Role::Events, 4, None);
    let why = told.recv_timeout(Duration::from_secs(60)).unwrap();
    holds(&why, &[&place.topic("account.events"), "topic id is", "deleted and made anew"]);
    let error = lane.take(Lsn(0), &mut |_| Ok(())).unwrap_err();
    assert!(matches!(&error, LogError::Corrupt(again) if *again == why), "{error}");
}

#[test]
fn a_topic_that_vanished_or_was_made_anew_is_refused() {
    let Some(place) = place(|_| {}) else { return };
    let layout = place.0.open(&[name("account")]).unwrap().layout;
    place.delete("account.events");
    let events = place.topic("account.events");
    holds(&place.refused(&[name("account")]), &[&events, "topic id is missing"]);
    place.make("account.events", Role::Events, 4, None);
    let anew = place.refused(&[name("account")]);
    holds(&anew, &[&events, "topic id is ", &layout.types[0].events_topic_id, "deleted and made anew"]);
    holds(&place.0.verify(&layout).unwrap()[0].to_string(), &[&events, "topic id is "]);
}

#[test]
fn deleted_records_are_refused() {
    let Some(place) = place(|_| {}) else { return };
    place.0.open(&[name("account")]).unwrap();
    let commands = place.topic("account.commands");
    for _ in 0..3 {
        place.send("account.commands", 2, "acc-1", b"{}");
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&commands, 2, Offset::Offset(2)).unwrap();
    wait(place.0.admin.delete_records(&list, &AdminOptions::new()), REQUEST).unwrap().unwrap();
    holds(&place.refused(&[]), &[&commands, "first offset is 2 in partition 2", "restore the topic"]);
}

#[test]
fn a_log_without_its_layout_is_not_laid_out_anew() {
    let Some(place) = place(|_| {}) else { return };
    place.0.open(&[name("account")]).unwrap();
    place.send("account.events", 0, "acc-1", b"{}");
    place.delete("lanes");
    holds(&place.refused(&[]), &["the layout of the log is gone", &place.topic("account.events")]);
    let told = place.line(&[]);
    holds(&told, &["Refuse", "layout is gone", &place.topic("account.events"), "from a backup"]);
    assert!(!told.contains("ordain topics create"), "{told}");
    place.make("lanes", Role::Lanes, 3, None);
    holds(&place.refused(&[]), &["the layout of the log is gone", &place.topic("account.events")]);
}

#[test]
fn events_of_somebody_else_are_not_taken_over() {
    let Some(place) = place(|_| {}) else { return };
    place.0.open(&[]).unwrap();
    place.make("account.events", Role::Events, 4, None);
    place.send("account.events", 1, "acc-1", b"{}");
    holds(&place.refused(&[name("account")]), &[&place.topic("account.events"), "the layout does not know it"]);
    let account = place.topic("account.events");
    holds(&place.line(&[]), &["Refuse", &account, "content is records", "the layout does not know the type"]);
}

#[test]
fn a_layout_that_is_foreign_or_damaged_is_refused_and_one_that_is_incomplete_is_written_again() {
    let Some(place) = place(|_| {}) else { return };
    let layout = place.0.open(&[name("account")]).unwrap().layout;
    let older = Layout { types: Vec::new(), ..layout.clone() };
    place.send("lanes", 1, KEY, &serde_json::to_vec(&older).unwrap());
    assert_eq!(place.0.read_layout(3).unwrap(), Found::Newest(layout.clone()));
    assert!(
        place.0.inspect(&[]).unwrap().2.iter().any(|one| one.setting == "layout" && one.severity == Severity::Warn)
    );
    assert_eq!(place.0.open(&[]).unwrap().layout, layout);
    assert_eq!(place.0.read_layout(3).unwrap(), Found::Agreed(layout.clone()));

    let foreign = serde_json::to_vec(&Layout { cluster_id: "another".into(), ..layout }).unwrap();
    (0..3).for_each(|lane| place.send("lanes", lane, KEY, &foreign));
    holds(&place.refused(&[]), &["cluster of the layout is another", place.0.cluster_id()]);
    place.send("lanes", 0, KEY, b"{\"of\":\"tomorrow\"}");
    let damaged = place.0.open(&[]).unwrap_err();
    assert!(matches!(&damaged, LogError::Corrupt(text) if text.contains("later version")), "{damaged}");
}

#[test]
fn hosts_that_may_not_create_say_what_to_do() {
    let Some(place) = place(|options| options.create_topics = false) else { return };
    holds(&place.refused(&[]), &[&place.topic("lanes"), "log.create_topics", "ordain topics create --print"]);
    place.make("lanes", Role::Lanes, 3, None);
    let command = "`ordain topics create account --print`";
    holds(&place.refused(&[name("account")]), &[&place.topic("account.commands"), command]);
    holds(&place.line(&[name("account")]), &["Refuse", "topic is missing", "ordain topics create account"]);
    place.make("account.commands", Role::Commands, 4, None);
    place.make("account.events", Role::Events, 4, None);
    assert_eq!(place.0.open(&[name("account")]).unwrap().created, Vec::<String>::new());
}

#[test]
fn production_refuses_one_copy() {
    let Some(place) = place(|options| (options.production, options.replication) = (true, 1)) else { return };
    let wrong = [&place.topic("lanes"), "replication factor is 1", "log.production"];
    holds(&place.refused(&[name("account")]), &wrong);
    holds(&place.line(&[]), &wrong);
    // It once made a topic with one copy and wrote the layout first.
    assert_eq!(place.0.topics().unwrap(), []);
    place.make("lanes", Role::Lanes, 3, None);
    holds(&place.refused(&[]), &[&place.topic("lanes"), "replication factor is 1, should be at least 3"]);
    assert_eq!(place.0.read_layout(3).unwrap(), Found::Nothing);
}

#[test]
fn more_copies_than_brokers_are_no_matter_of_health() {
    let Some(place) = place(|options| options.replication = 3) else { return };
    if place.0.brokers() > 2 {
        return;
    }
    for told in [place.refused(&[]), place.line(&[])] {
        holds(&told, &["`log.replication` is 3", "brokers that answer is 1"]);
        assert!(!told.contains("healthy"), "{told}");
    }
    assert_eq!(place.0.topics().unwrap(), []);
}

/// A topic of lanes that somebody had made with three partitions silently became three lanes for ever.
#[test]
fn lanes_that_somebody_made_otherwise_are_told() {
    let Some(place) = place(|options| (options.partitions, options.lanes) = (None, None)) else { return };
    place.make("lanes", Role::Lanes, 3, None);
    holds(&place.line(&[]), &["Warn", "number of lanes is 3", "8 as usual", "delete the topic"]);
    let opened = place.0.open(&[]).unwrap();
    assert_eq!(opened.layout.lanes, 3);
    let told = warnings(&opened.warnings).join("\n");
    holds(&told, &["number of lanes is 3, the topic's partitions", "for ever"]);
    assert!(!warnings(&place.0.open(&[]).unwrap().warnings).join("\n").contains("number of lanes"));
}

/// Topics that were made for a type beforehand were looked at only when a host got its module, and was refused.
#[test]
fn topics_of_a_type_without_a_place_are_checked() {
    let Some(place) = place(|_| {}) else { return };
    place.0.open(&[]).unwrap();
    assert_eq!(refusal(&place.0.inspect(&[name("account")]).unwrap().2), None);
    place.make("account.events", Role::Events, 4, Some(("retention.ms", "604800000")));
    let told = place.line(&[]);
    holds(&told, &["Refuse", &place.topic("account.events"), "retention.ms is 604800000", "kafka-configs.sh"]);
    holds(&told, &[&place.topic("account.commands"), "topic is missing", "a host makes it"]);
}

/// It took a minute, and then asked whether the cluster was healthy.
#[test]
fn properties_that_no_client_takes_are_refused_before_anybody_is_asked() {
    let properties = [("socket.timeout.ms".to_owned(), "20000".to_owned())].into();
    let nobody = Options { brokers: "127.0.0.1:1".into(), properties, ..options("shop.") };
    let since = Stopwatch::start();
    for error in [Cluster::connect(&nobody).unwrap_err(), Cluster::count_brokers(&nobody).unwrap_err()] {
        holds(&error.to_string(), &["`socket.timeout.ms` in [log.properties]", "(10000) + 100"]);
    }
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
}

/// Two hosts that started together once wrote two layouts, each without the other's type; both used slot 0.
#[test]
fn who_comes_in_between_is_not_overwritten() {
    let Some(place) = place(|_| {}) else { return };
    let layout = place.0.open(&[]).unwrap().layout;
    let other = place.again(|_| {});
    let calls = Cell::new(0);
    let written = place.0.change_layout(layout.lanes, &|seen| {
        calls.set(calls.get() + 1);
        // The first call only looks; at the second the fence is held, and the layout was read.
        if calls.get() == 2 {
            other.add(&layout, &name("counter"))?;
        }
        Ok(seen.unwrap().with(&name("account"), "a", "b"))
    });
    let written = written.unwrap();
    let slots: Vec<_> = written.types.iter().map(|one| (one.name.as_str(), one.slot)).collect();
    assert_eq!(slots, [("counter", 0), ("account", 1)]);
    assert_eq!(place.0.read_layout(3).unwrap(), Found::Agreed(written));
}

#[test]
fn hosts_that_start_at_once_agree() {
    let Some(place) = place(|_| {}) else { return };
    let types = ["account", "counter", "order", "shipment"];
    let start = Barrier::new(types.len());
    std::thread::scope(|scope| {
        let hosts: Vec<_> = types
            .iter()
            .map(|one| {
                let cluster = place.again(|_| {});
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    cluster.open(&[name(one)]).map(|opened| opened.layout)
                })
            })
            .collect();
        for (host, own) in hosts.into_iter().zip(types) {
            let layout = host.join().unwrap().unwrap();
            assert!(layout.of(&name(own)).is_some(), "{layout:?}");
        }
    });
    let Found::Agreed(layout) = place.0.read_layout(3).unwrap() else { panic!("the partitions differ") };
    let mut seen: Vec<_> = layout.types.iter().map(|one| one.name.as_str()).collect();
    seen.sort_unstable();
    assert_eq!(seen, types);
    assert_eq!(layout.types.iter().map(|one| one.slot).collect::<Vec<_>>(), [0, 1, 2, 3]);
}
