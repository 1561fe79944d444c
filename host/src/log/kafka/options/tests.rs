use super::*;

fn options() -> Options {
    Options {
        brokers: "127.0.0.1:9092".into(),
        prefix: "shop.".into(),
        group: "shop.hosts".into(),
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

#[test]
fn names_follow_from_the_prefix() {
    let (options, account) = (options(), AggregateType::parse("account").unwrap());
    assert_eq!(options.commands_topic(&account), "shop.account.commands");
    assert_eq!(options.events_topic(&account), "shop.account.events");
    assert_eq!(options.lanes_topic(), "shop.lanes");
    assert_eq!(options.transactional_id(3, 7), "shop.g3-lane-7");
    assert_eq!(options.layout_transactional_id(), "shop.layout");
}

#[test]
fn a_new_log_has_never_more_lanes_than_partitions() {
    let with = |partitions, lanes| Options { partitions, lanes, ..options() }.dimensions();
    assert_eq!(with(None, None), (16, 8));
    assert_eq!(with(Some(4), None), (4, 4));
    assert_eq!(with(None, Some(32)), (32, 32));
    assert_eq!(with(Some(64), Some(2)), (64, 2));
}

#[test]
fn what_promises_depend_on_cannot_be_passed_through() {
    for name in
        ["acks", "transactional.id", "isolation.level", "auto.offset.reset", "enable.idempotence", "partitioner"]
    {
        assert!(refused_property(name, "x").is_some(), "{name}");
    }
    for (name, value) in
        [("linger.ms", "5"), ("security.protocol", "SASL_SSL"), ("sasl.password", "a b"), ("client.rack", "a")]
    {
        assert_eq!(refused_property(name, value), None, "{name}");
    }
    let unknown = refused_property("linger.mss", "5").unwrap();
    assert!(unknown.contains("linger.mss"), "{unknown}");
    assert!(refused_property("linger.ms", "soon").is_some());
}

#[test]
fn properties_go_before_what_is_usual_for_a_client_under_each_of_their_names() {
    let said = [("compression.codec", "zstd"), ("socket.timeout.ms", "7000")];
    let properties = said.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let config = Options { properties, ..options() }.client_with(&[
        ("compression.type", "lz4"),
        ("socket.timeout.ms", "10000"),
        ("linger.ms", "0"),
    ]);
    let set = ["compression.codec", "compression.type", "socket.timeout.ms", "linger.ms"].map(|name| config.get(name));
    assert_eq!(set, [Some("zstd"), None, Some("7000"), Some("0")]);
}

#[test]
fn secrets_are_not_shown() {
    let properties = BTreeMap::from([("sasl.password".into(), "hunter2".into())]);
    assert!(!format!("{:?}", Options { properties, ..options() }).contains("hunter2"));
    let message = refused_property("no.such.password", "hunter2").unwrap();
    assert!(message.contains("no.such.password") && !message.contains("hunter2"), "{message}");
}
