use super::layout::{Found, KEY, agree, compare};
use super::problem::{Repair, Severity, refusal, script, warnings};
use super::rules::{check, parse, settings, transactions_to_be};
use super::*;
use crate::log::kafka::options::ValueForm;

mod broker;

fn options(prefix: &str) -> Options {
    Options {
        brokers: "here:9092".into(),
        prefix: prefix.into(),
        group: format!("{prefix}hosts"),
        lanes: None,
        partitions: None,
        properties: BTreeMap::new(),
        create_topics: true,
        replication: 0,
        production: false,
        value_form: ValueForm::Json,
        session_timeout_ms: 10_000,
        commits_per_second_max: 1_000,
        instance: None,
        advertised: None,
    }
}

fn holds(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

fn name(text: &str) -> AggregateType {
    AggregateType::parse(text).unwrap()
}

/// A topic as [`Cluster::ensure`] would make it on a good cluster.
fn good(topic: &str, role: Role) -> Topic {
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Topic {
        name: topic.into(),
        id: format!("id-of-{topic}"),
        partitions: 16,
        replication: 3,
        settings: settings(role, 3).into_iter().map(own).collect(),
        cut: Vec::new(),
    }
}

fn expected(production: bool) -> Expected<'static> {
    Expected { partitions: 16, laid_out: true, production, brokers: "here:9092" }
}

#[test]
fn topics_as_they_are_made_have_no_problems() {
    for role in [Role::Commands, Role::Events, Role::Lanes, Role::Transactions] {
        assert_eq!(check(&good("t", role), role, expected(true)), []);
    }
}

#[test]
fn each_wrong_setting_is_named_with_its_repair() {
    use Role::{Commands, Events, Lanes, Transactions};
    use Severity::{Refuse, Warn};
    let wrong: [(Role, &str, &str, Severity); 22] = [
        (Events, "cleanup.policy", "compact", Refuse),
        (Events, "cleanup.policy", "compact,delete", Refuse),
        (Events, "retention.ms", "604800000", Refuse),
        (Events, "retention.bytes", "1000000", Refuse),
        (Events, "message.timestamp.type", "CreateTime", Refuse),
        (Events, "max.message.bytes", "65535", Refuse),
        (Events, "max.message.bytes", "65536", Warn),
        (Events, "max.message.bytes", "67108865", Refuse),
        (Events, "min.insync.replicas", "1", Warn),
        (Events, "min.insync.replicas", "4", Refuse),
        (Events, "unclean.leader.election.enable", "true", Warn),
        (Commands, "cleanup.policy", "compact", Refuse),
        (Commands, "retention.ms", "1", Refuse),
        (Commands, "retention.bytes", "1", Refuse),
        (Commands, "max.message.bytes", "1000", Warn),
        (Commands, "max.message.bytes", "67108865", Refuse),
        (Commands, "min.insync.replicas", "1", Warn),
        (Lanes, "cleanup.policy", "delete", Refuse),
        (Lanes, "min.insync.replicas", "1", Warn),
        (Lanes, "unclean.leader.election.enable", "true", Warn),
        (Transactions, "min.insync.replicas", "1", Warn),
        (Transactions, "unclean.leader.election.enable", "true", Warn),
    ];
    for (role, setting, value, severity) in wrong {
        let mut topic = good("shop.account.events", role);
        topic.settings.insert(setting.into(), value.into());
        let problems = check(&topic, role, expected(false));
        let [problem] = &problems[..] else { panic!("{role:?} {setting}={value}: {problems:?}") };
        assert_eq!((problem.setting.as_str(), problem.is.as_str(), problem.severity), (setting, value, severity));
        let line = problem.to_string();
        for word in ["shop.account.events: ", setting, value, "kafka-configs.sh --bootstrap-server here:9092", setting]
        {
            assert!(line.contains(word), "{word:?} is not in: {line}");
        }
        // What one lost machine could take along is refused in production (R11); a small message is no such thing.
        let strict = check(&topic, role, expected(true));
        let harmless = setting == "max.message.bytes" && severity == Warn;
        assert_eq!(refusal(&strict).is_some(), !harmless, "{setting}");
    }
}

#[test]
fn wrong_numbers_and_deleted_records_are_named() {
    let events = good("shop.account.events", Role::Events);
    let more = check(&Topic { partitions: 17, ..events.clone() }, Role::Events, expected(false));
    assert_eq!((more[0].is.as_str(), more[0].should.as_str(), more[0].severity), ("17", "16", Severity::Refuse));
    let cut = check(&Topic { cut: vec![(3, 40), (5, 1)], ..events.clone() }, Role::Events, expected(false));
    assert_eq!(cut[0].is, "40 in partition 3 (of 2 that were cut)");
    assert_eq!(cut[0].severity, Severity::Refuse);
    // Compaction may begin at any offset.
    let lanes = Topic { cut: vec![(0, 7)], ..good("shop.lanes", Role::Lanes) };
    assert_eq!(check(&lanes, Role::Lanes, expected(false)), []);
    let few = check(&Topic { replication: 2, ..events }, Role::Events, expected(false));
    assert_eq!((few[0].setting.as_str(), few[0].severity), ("replication factor", Severity::Warn));
}

#[test]
fn brokers_say_what_their_record_of_transactions_will_be() {
    let broker = |copies: &str, in_sync: &str| {
        let settings =
            [("transaction.state.log.replication.factor", copies), ("transaction.state.log.min.isr", in_sync)];
        transactions_to_be(&settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    };
    assert_eq!(check(&broker("3", "2"), Role::Transactions, expected(true)), []);
    let named: Vec<_> = check(&broker("1", "1"), Role::Transactions, expected(true));
    // With one copy, two in sync would stop every commit: the line of the copies says both.
    assert_eq!(named.iter().map(|one| one.setting.as_str()).collect::<Vec<_>>(), ["replication factor"]);
    holds(
        &named[0].to_string(),
        &["at least 3, and min.insync.replicas then at least 2", "transaction.state.log.min.isr=2"],
    );
}

/// The printed repair of a warning once was the setting that the next check refused: two in sync, of one copy.
#[test]
fn what_repairs_a_warning_is_not_refused_afterwards() {
    for role in [Role::Commands, Role::Events, Role::Lanes, Role::Transactions] {
        for replication in [1, 2] {
            let one = |in_sync: &str| {
                let mut topic = Topic { replication, ..good("shop.account.events", role) };
                topic.settings.insert("min.insync.replicas".into(), in_sync.into());
                check(&topic, role, expected(false))
            };
            let warned = one("1");
            let [problem] = &warned[..] else { panic!("{warned:?}") };
            assert_eq!((problem.setting.as_str(), problem.severity), ("replication factor", Severity::Warn));
            holds(&problem.to_string(), &["FILE", "and after that `kafka-configs.sh", "min.insync.replicas=2"]);
            let script = script(&warned);
            assert!(script.iter().all(|line| line.starts_with("# ")), "{script:?}");
        }
        let mut topic = Topic { replication: 1, ..good("shop.account.events", role) };
        topic.settings.insert("min.insync.replicas".into(), "2".into());
        let refused = check(&topic, role, expected(false));
        let command = script(&refused).into_iter().find(|line| line.starts_with("kafka-configs.sh")).unwrap();
        assert!(command.ends_with("--add-config min.insync.replicas=1"), "{command}");
    }
}

#[test]
fn a_topic_is_to_be_made_anew_only_before_the_layout_has_it() {
    let more = Topic { partitions: 20, ..good("shop.account.events", Role::Events) };
    let line = |laid_out| check(&more, Role::Events, Expected { laid_out, ..expected(false) })[0].to_string();
    holds(&line(false), &["delete it", "`ordain topics create account`"]);
    holds(&line(true), &["another `log.prefix`", "delete all its topics"]);
    let lanes = Topic { partitions: 20, ..good("shop.lanes", Role::Lanes) };
    let lanes = check(&lanes, Role::Lanes, Expected { laid_out: false, ..expected(false) })[0].to_string();
    holds(&lanes, &["`ordain topics create`"]);
}

#[test]
fn names_belong_to_one_prefix_only() {
    assert_eq!(parse("shop.", "shop.lanes"), Some((Role::Lanes, None)));
    assert_eq!(parse("shop.", "shop.account.commands"), Some((Role::Commands, Some(name("account")))));
    assert_eq!(parse("shop.", "shop.account.events"), Some((Role::Events, Some(name("account")))));
    for other in ["shop.test.account.events", "shop.account", "shop.account.snapshots", "shopaccount.events", "lanes"] {
        assert_eq!(parse("shop.", other), None, "{other}");
    }
}

#[test]
fn warnings_that_are_alike_are_one_line() {
    let topic = |name: &str| Topic { replication: 1, ..good(name, Role::Commands) };
    let problems: Vec<_> = ["a", "b", "c"]
        .iter()
        .flat_map(|name| check(&topic(name), Role::Commands, expected(false)))
        .filter(|one| one.severity == Severity::Warn)
        .collect();
    let lines = warnings(&problems);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("replication factor is 1") && lines[0].ends_with("a, b, c"), "{}", lines[0]);
    let late = Problem { repair: Repair::Late("it is so now".into()), ..problems[0].clone() };
    assert!(!warnings(&[late])[0].contains("ordain topics check"));
}

fn layout(types: &[&str]) -> Layout {
    let empty = Layout { cluster_id: "c".into(), generation: 1, partitions: 16, lanes: 4, types: Vec::new() };
    types.iter().fold(empty, |layout, one| {
        layout.with(&name(one), &format!("id-of-shop.{one}.commands"), &format!("id-of-shop.{one}.events"))
    })
}

#[test]
fn types_get_slots_that_are_never_used_again() {
    let two = layout(&["account", "counter"]);
    assert_eq!(two.types.iter().map(|one| one.slot).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(two.clone().with(&name("account"), "x", "y"), two);
    let mut gap = two;
    gap.types.remove(0);
    assert_eq!(gap.with(&name("third"), "x", "y").types.last().map(|one| one.slot), Some(2));
}

#[test]
fn a_layout_is_read_back_and_a_damaged_one_is_refused() {
    let two = layout(&["account", "counter"]);
    assert_eq!(Layout::parse(&serde_json::to_vec(&two).unwrap()), Ok(two.clone()));
    let damaged = |change: &dyn Fn(&mut Layout)| {
        let mut layout = two.clone();
        change(&mut layout);
        Layout::parse(&serde_json::to_vec(&layout).unwrap())
    };
    assert!(damaged(&|layout| layout.lanes = 0).is_err());
    assert!(damaged(&|layout| layout.partitions = 0).is_err());
    assert!(damaged(&|layout| layout.types[1].slot = 0).is_err());
    assert!(damaged(&|layout| layout.types[1].name = "account".into()).is_err());
    assert!(damaged(&|layout| layout.types[1].name = "No Type".into()).is_err());
    assert!(Layout::parse(b"{\"of\":\"tomorrow\"}").unwrap_err().contains("later version"));
}

#[test]
fn no_partition_is_trusted_alone() {
    let (one, two) = (layout(&["account"]), layout(&["account", "counter"]));
    let all = |read: &[Option<&Layout>]| agree(&read.iter().map(|layout| layout.cloned()).collect::<Vec<_>>());
    assert_eq!(all(&[None, None]), Ok(Found::Nothing));
    assert_eq!(all(&[Some(&two), Some(&two)]), Ok(Found::Agreed(two.clone())));
    assert_eq!(all(&[Some(&two), Some(&one)]), Ok(Found::Newest(two.clone())));
    assert_eq!(all(&[None, Some(&one)]), Ok(Found::Newest(one.clone())));
    let next = Layout { generation: 2, lanes: 8, ..one.clone() };
    assert_eq!(all(&[Some(&one), Some(&next)]), Ok(Found::Newest(next)));
    let others = [
        layout(&["counter"]),
        Layout { cluster_id: "d".into(), ..one.clone() },
        Layout { partitions: 8, ..one.clone() },
        Layout { lanes: 8, ..one.clone() },
    ];
    for other in others {
        assert!(all(&[Some(&one), Some(&other)]).unwrap_err().contains("contradict"), "{other:?}");
    }
}

#[test]
fn what_is_fixed_is_compared_at_every_start() {
    let layout = layout(&["account"]);
    let topics = [
        Topic { partitions: 4, ..good("shop.lanes", Role::Lanes) },
        good("shop.account.commands", Role::Commands),
        good("shop.account.events", Role::Events),
    ];
    let usual = options("shop.");
    assert_eq!(compare(&layout, &usual, "c", &topics), []);
    let agreeing = Options { partitions: Some(16), lanes: Some(4), ..usual.clone() };
    assert_eq!(compare(&layout, &agreeing, "c", &topics), []);
    let line = |options: &Options, cluster: &str, topics: &[Topic]| {
        let problems = compare(&layout, options, cluster, topics);
        assert_eq!(problems.len(), 1, "{problems:?}");
        refusal(&problems).unwrap()
    };
    assert!(
        line(&Options { partitions: Some(32), ..usual.clone() }, "c", &topics)
            .contains("partitions is 32 in the settings")
    );
    assert!(
        line(&Options { lanes: Some(2), ..usual.clone() }, "c", &topics).contains("set `lanes = 4`, or leave it out")
    );
    assert!(line(&usual, "d", &topics).contains("cluster of the layout is c, should be d"));
    assert!(line(&usual, "c", &topics[..2]).contains("shop.account.events: topic id is missing"));
    let mut other = topics.clone();
    other[1].id = "another".into();
    assert!(line(&usual, "c", &other).contains("shop.account.commands: topic id is another"));
}

#[test]
fn printed_commands_make_what_is_checked() {
    let options = Options { partitions: Some(32), lanes: Some(4), ..options("shop.") };
    let lines = print::commands(&options, &[name("account")], None);
    let topic = |topic: &str| {
        let flag = format!("--topic {topic} ");
        lines.iter().find(|line| line.starts_with("kafka-topics.sh") && line.contains(&flag)).unwrap().clone()
    };
    for (topic_name, role, partitions) in [
        ("shop.lanes", Role::Lanes, 4),
        ("shop.account.commands", Role::Commands, 32),
        ("shop.account.events", Role::Events, 32),
    ] {
        let line = topic(topic_name);
        assert!(line.contains(&format!("--partitions {partitions} --replication-factor 3 ")), "{line}");
        for (setting, value) in settings(role, 3) {
            assert!(line.contains(&format!("--config {setting}={value}")), "{line}");
        }
    }
    let all = lines.join("\n");
    for right in [
        "--transactional-id shop.",
        "--group shop.hosts --group shop.reader --group shop.lag",
        "User:sender",
        "User:reader",
        "--operation Create",
    ] {
        assert!(all.contains(right), "{right}");
    }
    let few = print::commands(&options, &[], Some(1)).join("\n");
    assert!(few.contains("--replication-factor 1 ") && !few.contains("No broker"), "{few}");
    assert!(all.contains("# No broker answered"));
    let forbidden = print::commands(&Options { create_topics: false, ..options }, &[], None).join("\n");
    assert!(!forbidden.contains("--operation Create"));
}

#[test]
fn a_broker_that_is_not_there_is_named_with_its_error() {
    let nobody = Options { brokers: "127.0.0.1:1".into(), ..options("shop.") };
    let error = Cluster::connect_within(&nobody, Duration::from_millis(300)).unwrap_err().to_string();
    assert!(
        error.contains("127.0.0.1:1") && error.contains("Connection refused") && error.contains("log.brokers"),
        "{error}"
    );
}

#[test]
fn waiting_ends_with_the_answer_or_the_limit() {
    assert_eq!(wait(std::future::ready(7), Duration::ZERO), Some(7));
    assert_eq!(wait(std::future::pending::<()>(), Duration::from_millis(5)), None);
    let (send, receive) = tokio::sync::oneshot::channel();
    let other = std::thread::spawn(move || send.send(9));
    assert_eq!(wait(receive, Duration::from_secs(10)), Some(Ok(9)));
    other.join().unwrap().unwrap();
    assert_eq!(KEY, "layout");
}
