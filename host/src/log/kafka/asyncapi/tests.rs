use super::*;
use crate::config::{Config, LogKind};
use crate::decider::schemas::Schemas;
use crate::decider::schemas::embed::dangling;
use crate::log::kafka::records::ValueForm;
use crate::log::kafka::records::writer::Writer;
use crate::log::{Answer, BlockBuilder, EntryHead};
use crate::message::{AggregateId, Command, CommandId, Digest};

fn options(change: impl FnOnce(&mut crate::config::Log)) -> Options {
    let mut config = Config::default();
    config.log.kind = LogKind::Kafka;
    config.log.brokers = "one:9092, two:9093".into();
    config.log.prefix = "bank.".into();
    change(&mut config.log);
    config.kafka().unwrap()
}

fn account() -> Embedded {
    let schemas = br##"{
        "command": {"type": "array", "prefixItems": [{"type": "string"}], "items": false},
        "event": {"oneOf": [{"type": "object", "properties": {"Opened": {"$ref": "#/$defs/O"}}, "required": ["Opened"]}],
                  "$defs": {"O": {"type": "object"}}},
        "rejection": {"type": "string", "enum": ["Closed"]},
        "state": {"type": "object"}
    }"##;
    Embedded::new("account", Digest([1; 32]), Some(&Schemas::parse(schemas).unwrap()))
}

#[test]
fn every_reference_leads_somewhere() {
    let types = [account(), Embedded::new("light", Digest([2; 32]), None)];
    assert_eq!(dangling(&document(&options(|_| {}), 8, &types)), [""; 0]);
}

#[test]
fn topics_and_servers_come_from_the_settings() {
    let document = document(&options(|_| {}), 8, &[account()]);
    let commands = &document["channels"]["account.commands"];
    assert_eq!(commands["address"], "bank.account.commands");
    let kafka = &commands["bindings"]["kafka"];
    assert_eq!((&kafka["partitions"], &kafka["topicConfiguration"]["retention.ms"]), (&json!(8), &json!(-1)));
    assert_eq!(document["servers"]["broker-2"], json!({"host": "two:9093", "protocol": "kafka"}));
    let command = &document["components"]["schemas"]["account.command"];
    assert_eq!(
        (&command["items"][0]["type"], &command["additionalItems"]),
        (&json!("string"), &json!(false)),
        "draft 7"
    );
}

#[test]
fn a_client_learns_how_to_prove_who_it_is_and_no_secret() {
    let options = options(|log| {
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
            ("sasl.username", "the-user"),
            ("sasl.password", "the-password"),
            ("ssl.ca.location", "the-place"),
        ] {
            log.properties.0.insert(name.into(), value.into());
        }
    });
    let document = document(&options, 8, &[account()]);
    assert_eq!(document["servers"]["broker-1"]["protocol"], "kafka-secure");
    assert_eq!(document["components"]["securitySchemes"]["sasl"]["type"], "scramSha512");
    let text = document.to_string();
    assert!(!text.contains("the-user") && !text.contains("the-password") && !text.contains("the-place"));
    assert_eq!(dangling(&document), [""; 0]);
}

/// What the writer of records writes is what the document says: each header, and those that are always there.
#[test]
fn the_headers_of_records_are_those_that_are_described() {
    let document = document(&options(|_| {}), 8, &[account()]);
    let command = Command {
        partition: 3,
        offset: Some(5),
        defect: None,
        aggregate_type: AggregateType::parse("account").unwrap(),
        aggregate_id: AggregateId::parse("ann").unwrap(),
        command_id: CommandId::parse("c-1").unwrap(),
        expected_version: None,
        time_ms: 1_700_000_000_123,
        correlation_id: "".into(),
        traceparent: "".into(),
        metadata: [].into(),
        body: [0xc0].into(),
        body_hash: 0,
    };
    let event = crate::json::to_messagepack(br#"{"Opened":{}}"#).unwrap();
    let mut frames = Vec::new();
    ordain_sdk::contract::write_frame(&mut frames, &event);
    let whole = Command {
        correlation_id: "k".into(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        ..command.clone()
    };
    for (message, answer) in [
        ("account.event", Answer::Accepted { count: 1, events: &frames }),
        ("account.outcome", Answer::Conflict { actual: 4 }),
    ] {
        let schema = &document["components"]["messages"][message]["headers"];
        for (command, all) in [(&command, false), (&whole, true)] {
            let mut block = BlockBuilder::new();
            let head = EntryHead { sequence: 0, command_offset: 5, version: 1, module: Digest([1; 32]) };
            block.push(&head, command, &answer);
            let (_, entry) = block.entries().next().unwrap();
            let mut names = Vec::new();
            let write = |record: super::super::records::Outgoing<'_>| {
                names.extend(record.headers.iter().map(|(name, _)| name.to_string_lossy().into_owned()));
                Ok::<_, ()>(())
            };
            Writer::new("/ordain/bank", ValueForm::Json).entry(&entry, 9, None, write).unwrap();
            names.sort_unstable();
            let mut described: Vec<String> = if all {
                schema["properties"].as_object().unwrap().keys().cloned().collect()
            } else {
                schema["required"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
            };
            described.sort_unstable();
            assert_eq!(names, described, "{message}");
        }
    }
}
