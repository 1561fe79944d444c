//! Poison: every kind of record that somebody may write to a topic of commands, and what is answered to it.

use proptest::prelude::*;

use super::super::append::command_record;
use super::*;

const PARTITIONS: u32 = 8;

fn reader() -> CommandReader {
    let home = partition_of("acc-17", PARTITIONS);
    let limits = Limits { value_bytes_max: 1000, ..Limits::default() };
    CommandReader::new(AggregateType::parse("account").unwrap(), "shop.account.commands", home, PARTITIONS, 5, limits)
}

const GOOD: &[u8] = br#"{"Deposit":{"amount":500}}"#;

fn read(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[HeaderView<'_>]) -> Command {
    reader().read(42, &RecordView { key, value, headers, timestamp_ms: 1 }, 1000)
}

fn header<'a>(name: &'a str, value: &'a str) -> HeaderView<'a> {
    (name.as_bytes(), Some(value.as_bytes()))
}

#[test]
fn a_command_has_the_time_of_its_sender() {
    let at = |text| read(Some(b"acc-17"), Some(GOOD), &[header("ce_time", text)]);
    assert_eq!(at("1970-01-01T00:00:00.25Z").time_ms, 250);
    assert_eq!(at("1970-01-01T00:30:00+01:00").time_ms, 0);
    let defect = at("yesterday").defect.expect("is no time");
    assert!(defect.reason == FailureReason::Unreadable && defect.message.contains("ce_time is \"yesterday\""));
}

#[test]
fn a_plain_record_is_a_command() {
    let command = read(Some(b"acc-17"), Some(GOOD), &[]);
    assert_eq!(command.defect, None);
    assert_eq!(command.names(), ("account", "acc-17", reader().default_id(42).as_str()));
    let home = partition_of("acc-17", PARTITIONS);
    assert_eq!(command.command_id.as_str(), format!("shop.account.commands-{home}-42"));
    assert_eq!((command.partition, command.offset, command.time_ms), (5, Some(42), 1000));
    assert_eq!(*command.body, *json::to_messagepack(GOOD).unwrap());
    assert_eq!((command.expected_version, command.metadata.len()), (None, 0));
}

#[test]
fn every_header_has_its_place() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let command = read(
        Some(b"acc-17"),
        Some(b"\x81\xa7Deposit\x81\xa6amount\xcf\0\0\0\0\0\0\x01\xf4"),
        &[
            header("content-type", "Application/X-MsgPack; charset=none"),
            header("ce_id", "c-1"),
            header("ce_commandid", "c-2"),
            header("ce_expectedversion", "3"),
            header("ce_correlationid", "order 7"),
            header("traceparent", trace),
            header("ce_time", "2026-01-02T03:04:05Z"),
            header("channel", "phone"),
            header("channel", "web"),
            (b"raw", Some(b"\xff")),
            (b"none", None),
        ],
    );
    assert_eq!(command.defect, None);
    assert_eq!((command.command_id.as_str(), command.expected_version), ("c-1", Some(3)));
    assert_eq!((&*command.correlation_id, &*command.traceparent), ("order 7", trace));
    // The same command as JSON has the same bytes, and so the same hash.
    assert_eq!(*command.body, *json::to_messagepack(GOOD).unwrap());
    assert_eq!(command.time_ms, 1000, "what is to come counts as now");
    let mut wanted = vec![0x84];
    for (name, value) in [("ce_commandid", &b"\xa3c-2"[..]), ("channel", b"\xa3web")] {
        pack::write_text(name, &mut wanted);
        wanted.extend_from_slice(value);
    }
    wanted.extend_from_slice(b"\xa3raw\xc4\x01\xff\xa4none\xc0");
    assert_eq!(*command.metadata, *wanted);
    assert_eq!(read(Some(b"acc-17"), Some(GOOD), &[header("ce_commandid", "c-2")]).command_id.as_str(), "c-2");
}

#[test]
fn what_means_nothing_is_no_defect() {
    for headers in [
        vec![header("traceparent", "00-0-0-0")],
        vec![(&b"traceparent"[..], Some(&b"\xff"[..]))],
        vec![(&b"ce_id"[..], None)],
        vec![(&b"content-type"[..], None)],
        vec![header("ce_correlationid", "")],
        vec![header("content-type", " application/json ; charset=utf-8")],
        vec![header("", "a header without a name")],
    ] {
        let command = read(Some(b"acc-17"), Some(GOOD), &headers);
        assert_eq!(command.defect, None, "{headers:?}");
        assert_eq!((&*command.traceparent, &*command.correlation_id), ("", ""));
    }
}

/// One record, and where and with what it is answered: the failure, and words of its message.
struct Poison<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<HeaderView<'a>>,
    reason: FailureReason,
    says: &'a str,
}

fn poison<'a>(says: &'a str) -> Poison<'a> {
    Poison { key: Some(b"acc-17"), value: Some(GOOD), headers: Vec::new(), reason: FailureReason::Unreadable, says }
}

/// Records whose key names no aggregate of the partition.
fn without_a_place<'a>(long: &'a [u8], abroad: &'a [u8]) -> Vec<Poison<'a>> {
    let key = |key, says| Poison { key, ..poison(says) };
    vec![
        key(None, "has no key"),
        key(Some(b""), "1 to 256 bytes"),
        key(Some(&long[..300]), "(300 bytes)"),
        key(Some(long), "is no id"),
        key(Some(b"\xff\xfe"), "not UTF-8"),
        key(Some(b"acc\n17"), "control character"),
        key(Some(b"\0\0\0\x07"), "control character"),
        key(Some(b"ordain.unrouted.5"), "reserved"),
        Poison { reason: FailureReason::Misrouted, ..key(Some(abroad), "murmur2") },
        Poison { value: None, headers: vec![header("ce_id", "")], ..key(None, "has no key") },
    ]
}

/// Records with a wrong value or content type.
fn without_a_command<'a>(long: &'a [u8], deep: &'a [u8]) -> Vec<Poison<'a>> {
    let value = |value: &'a [u8], says| Poison { value: Some(value), ..poison(says) };
    let packed =
        |bytes, says| Poison { headers: vec![header("content-type", super::super::MESSAGEPACK)], ..value(bytes, says) };
    let typed =
        |content_type: &'a str, says| Poison { headers: vec![header("content-type", content_type)], ..poison(says) };
    vec![
        Poison { value: None, ..poison("has no value") },
        value(b"", "not one JSON value"),
        value(b"Deposit", "not one JSON value"),
        value(b"{\"Deposit\":{}", "not one JSON value"),
        value(b"{} {}", "not one JSON value"),
        value(b"\xff\xfe{\0}\0", "not one JSON value"),
        value(b"\xef\xbb\xbf{}", "not one JSON value"),
        value(b"\"\xff\"", "not one JSON value"),
        value(b"\"\\ud800\"", "not one JSON value"),
        value(b"[NaN]", "not one JSON value"),
        value(b"1e999", "not one JSON value"),
        value(&deep[..500], "not one JSON value"),
        value(b"\0\0\0\0\x01\x02account", "not one JSON value"),
        Poison { reason: FailureReason::TooLarge, ..value(long, "at most 1000") },
        packed(b"", "cut short"),
        packed(b"\x81\xa7Deposit", "cut short"),
        packed(b"\xc1", "cut short"),
        packed(b"\xdf\xff\xff\xff\xff", "cut short"),
        packed(b"\x01\x01", "follow the value"),
        packed(b"\xa1\xff", "not UTF-8"),
        packed(&[0x91; 500], "deeper"),
        typed("application/avro", "application/avro"),
        typed("application/cloudevents+json", "binary mode"),
        typed("", "content type"),
        Poison { headers: vec![(b"content-type", Some(b"\xff"))], ..poison("content type") },
        Poison { headers: vec![header("content-type", "application/json"); 2], ..poison("twice") },
    ]
}

/// Records with wrong headers.
fn with_wrong_headers<'a>(long: &'a str, names: &'a [String]) -> Vec<Poison<'a>> {
    let one = |name: &'a str, value: &'a str, says| Poison { headers: vec![header(name, value)], ..poison(says) };
    let raw = |name: &'a [u8], value, says| Poison { headers: vec![(name, value)], ..poison(says) };
    let too_large = |poison| Poison { reason: FailureReason::TooLarge, ..poison };
    vec![
        one("ce_id", "", "command id"),
        one("ce_id", "a b", "command id"),
        one("ce_id", &long[..129], "command id"),
        one("ce_commandid", "ä", "command id"),
        raw(b"ce_id", Some(b"\xff"), "command id"),
        Poison { headers: vec![header("ce_id", "a"), header("ce_id", "b")], ..poison("twice") },
        one("ce_expectedversion", "", "ce_expectedversion"),
        one("ce_expectedversion", "three", "ce_expectedversion"),
        one("ce_expectedversion", "-1", "ce_expectedversion"),
        one("ce_expectedversion", "+3", "ce_expectedversion"),
        one("ce_expectedversion", "3.0", "ce_expectedversion"),
        one("ce_expectedversion", "18446744073709551616", "ce_expectedversion"),
        raw(b"ce_expectedversion", None, "null"),
        raw(b"ce_expectedversion", Some(b"\0\0\0\x03"), "ce_expectedversion"),
        Poison { headers: vec![header("ce_expectedversion", "3"); 2], ..poison("twice") },
        one("ce_correlationid", &long[..257], "correlation id"),
        raw(b"ce_correlationid", Some(b"a\nb"), "correlation id"),
        raw(b"ce_correlationid", Some(b"\xff"), "correlation id"),
        raw(b"\xff", Some(b"x"), "name of header 1"),
        one("ordain-metadata", "x", "ordain-metadata"),
        raw(b"ordain-metadata", Some(b"\x93\x01"), "ordain-metadata"),
        too_large(one("blob", long, "headers of metadata")),
        too_large(Poison { headers: names.iter().map(|name| header(name, "x")).collect(), ..poison("65 headers") }),
        too_large(one(long, "", "headers of metadata")),
    ]
}

/// R6 and R12: whatever is sent, there is exactly one command to answer, and the answer says what to send instead.
#[test]
fn every_poison_is_a_command_that_fails() {
    let long = "x".repeat(1 << 20);
    let abroad = (0..).map(|n| format!("acc-{n}")).find(|id| partition_of(id, 8) != partition_of("acc-17", 8)).unwrap();
    let names: Vec<String> = (0..65).map(|n| format!("name-{n}")).collect();
    let deep = "[".repeat(500);
    let placeless = without_a_place(long.as_bytes(), abroad.as_bytes());
    let placed = without_a_command(long.as_bytes(), deep.as_bytes());
    let all = [(placeless, "ordain.unrouted.5"), (placed, "acc-17"), (with_wrong_headers(&long, &names), "acc-17")];
    let mut count = 0;
    for (poisons, id) in all {
        for poison in poisons {
            let command = read(poison.key, poison.value, &poison.headers);
            let (key, headers) = (poison.key.map(|key| &key[..key.len().min(20)]), &poison.headers);
            let defect = command.defect.unwrap_or_else(|| panic!("{key:?} {:?} {headers:.100?}", poison.says));
            assert_eq!(defect.reason, poison.reason, "{}", defect.message);
            assert!(defect.message.contains(poison.says), "{:?} is not in {}", poison.says, defect.message);
            assert!(defect.message.len() < 800, "{}", defect.message.len());
            assert_eq!((command.aggregate_id.as_str(), command.partition, command.offset), (id, 5, Some(42)));
            assert!(command.metadata.len() <= 20_000 && command.body.len() <= 1000);
            count += 1;
        }
    }
    assert_eq!(count, 60);
}

#[test]
fn a_defect_is_answered_under_the_id_that_was_sent() {
    let headers = [header("ce_id", "c-1"), header("ce_correlationid", "order 7"), header("ce_expectedversion", "x")];
    for (key, value) in [(None, Some(GOOD)), (Some(&b"acc-17"[..]), None), (Some(b"acc-17"), Some(GOOD))] {
        let command = read(key, value, &headers);
        assert!(command.defect.is_some());
        assert_eq!((command.command_id.as_str(), &*command.correlation_id), ("c-1", "order 7"));
    }
    let bad = read(Some(b"acc-17"), Some(GOOD), &[header("ce_id", "a b")]);
    assert_eq!(bad.command_id, reader().default_id(42));
}

#[test]
fn the_hash_tells_records_without_a_place_apart() {
    let one = |key: &[u8], value: &[u8]| read(Some(key), Some(value), &[header("ce_id", "c")]).body_hash;
    assert_eq!(one(b"\xff", GOOD), one(b"\xff", GOOD));
    assert_ne!(one(b"\xff", GOOD), one(b"\xfe", GOOD));
    assert_ne!(one(b"acc-17", b"x"), one(b"acc-17", b"y"));
}

#[test]
fn a_topic_with_a_long_name_still_gives_ids() {
    let topic = "t".repeat(249);
    let reader = CommandReader::new(AggregateType::parse("a").unwrap(), &topic, 999, 1000, 0, Limits::default());
    assert!(reader.default_id(u64::MAX).as_str().ends_with("-999-18446744073709551615"));
}

fn metadata() -> impl Strategy<Value = Vec<u8>> {
    let texts = prop::collection::btree_map("[a-z_-]{1,12}|ce_id|traceparent|.{0,3}", ".{0,12}", 0..6)
        .prop_map(|map| if map.is_empty() { Vec::new() } else { rmp_serde::to_vec(&map).unwrap() });
    let numbers = prop::collection::btree_map("[a-z]{1,12}", prop::collection::vec(any::<i64>(), 0..3), 0..60)
        .prop_map(|map| rmp_serde::to_vec(&map).unwrap());
    prop_oneof![3 => texts, 1 => numbers]
}

/// What the gateway takes: JSON as its own reader packs it.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let json = prop_oneof![
        Just(r#"{"Close":{}}"#.to_owned()),
        any::<f64>()
            .prop_filter("JSON has no others", |n| n.is_finite())
            .prop_map(|n| format!("{{\"Rate\":{{\"x\":{n:e}}}}}")),
        any::<(u64, i64)>().prop_map(|(a, b)| format!("{{\"Move\":{{\"from\":{a},\"to\":{b},\"none\":null}}}}")),
        ".{0,30}".prop_map(|text| serde_json::json!({"Note": [text, true]}).to_string()),
        Just(r#"{"Twice":{"a":1,"a":2}}"#.to_owned()),
    ];
    json.prop_map(|text| json::to_messagepack(text.as_bytes()).unwrap())
}

proptest! {
    /// What a host appends for a caller of HTTP is what the owner of the lane then decides.
    #[test]
    fn an_appended_command_is_read_as_it_was(
        id in "[^\\p{Cc}]{1,40}",
        command_id in "[!-~]{1,128}",
        expected_version in any::<Option<u64>>(),
        correlation_id in "[^\\p{Cc}]{0,40}",
        traced in any::<bool>(),
        metadata in metadata(),
        body in body(),
        messagepack in any::<bool>(),
    ) {
        let command = Command {
            partition: 5,
            offset: Some(42),
            defect: None,
            aggregate_type: AggregateType::parse("account").unwrap(),
            aggregate_id: AggregateId::parse(&id).unwrap(),
            command_id: CommandId::parse(&command_id).unwrap(),
            expected_version,
            time_ms: 1000,
            correlation_id: correlation_id.into(),
            traceparent: if traced { "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" } else { "" }.into(),
            metadata: metadata.into(),
            body_hash: json::body_hash(&body),
            body: body.into(),
        };
        let form = if messagepack { ValueForm::Msgpack } else { ValueForm::Json };
        let record = command_record(&command, form);
        let headers: Vec<HeaderView<'_>> = record.headers.iter().map(|(name, value)| (name.as_bytes(), Some(&value[..]))).collect();
        let reader = CommandReader::new(command.aggregate_type.clone(), "t", partition_of(&id, 8), 8, 5, Limits::default());
        let view = RecordView { key: Some(&record.key), value: Some(&record.value), headers: &headers, timestamp_ms: 0 };
        let read = reader.read(42, &view, 1000);
        prop_assert_eq!(format!("{command:?}"), format!("{read:?}"));
    }

    #[test]
    fn no_bytes_are_too_strange(
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        headers in prop::collection::vec(
            (
                prop_oneof![
                    prop::sample::select(vec![&b"ce_id"[..], b"content-type", b"ordain-metadata", b"ce_expectedversion"])
                        .prop_map(<[u8]>::to_vec),
                    prop::collection::vec(any::<u8>(), 0..9),
                ],
                prop::option::of(prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..40),
                    Just(super::super::MESSAGEPACK.as_bytes().to_vec()),
                ]),
            ),
            0..6,
        ),
    ) {
        let headers: Vec<HeaderView<'_>> = headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        let command = read(key.as_deref(), value.as_deref(), &headers);
        if command.defect.is_none() {
            prop_assert!(pack::is_value(&command.body));
            prop_assert!(command.metadata.is_empty() || pack::is_value(&command.metadata));
        }
    }
}
