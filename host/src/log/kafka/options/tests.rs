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

/// A host once wrote nothing for a minute and then asked whether the cluster was healthy.
#[test]
fn properties_with_which_no_client_can_be_made_are_refused_by_name_with_the_bound() {
    let told = |said: &[(&str, &str)]| {
        let properties = said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Options { properties, ..options() }.probe()
    };
    assert_eq!(told(&[]), Ok(()));
    assert_eq!(told(&[("socket.timeout.ms", "7000"), ("linger.ms", "5"), ("client.rack", "a")]), Ok(()));
    assert_eq!(
        told(&[
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.username", "a"),
            ("sasl.password", "b")
        ]),
        Ok(())
    );
    for (name, value, bound) in [
        ("socket.timeout.ms", "20000", "`transaction.timeout.ms` (10000) + 100"),
        ("socket.timeout.ms", "60000", "`transaction.timeout.ms` (10000) + 100"),
        ("fetch.max.bytes", "2000", "`message.max.bytes` (1000000)"),
        ("max.poll.interval.ms", "1000", "`session.timeout.ms` ("),
        ("retries", "0", "set >= 1"),
        ("linger.ms", "9500", "`linger.ms` (9500)"),
        ("reconnect.backoff.max.ms", "2", "`reconnect.backoff.max.ms` (2) must be >="),
        ("ssl.ca.location", "/no/such/file", "ssl.ca.location"),
    ] {
        let tls = ("security.protocol", "SSL");
        let said = [(name, value), tls];
        let said = if name.starts_with("ssl.") { &said[..] } else { &said[..1] };
        let why = told(said).unwrap_err();
        println!("{why}");
        let named = format!("the property `{name}` in [log.properties]");
        assert!(why.starts_with(&named) && why.contains(bound), "{why}");
    }
    let members = Options { session_timeout_ms: 9_000, ..options() };
    let properties = BTreeMap::from([("max.poll.interval.ms".to_owned(), "50000".to_owned())]);
    assert_eq!(Options { properties, ..members }.probe(), Ok(()));
}

#[test]
fn secrets_are_not_shown() {
    let properties = BTreeMap::from([("sasl.password".into(), "hunter2".into())]);
    assert!(!format!("{:?}", Options { properties, ..options() }).contains("hunter2"));
    let message = refused_property("no.such.password", "hunter2").unwrap();
    assert!(message.contains("no.such.password") && !message.contains("hunter2"), "{message}");
}
