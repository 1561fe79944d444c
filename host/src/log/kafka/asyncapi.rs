//! The topics and records of this log as AsyncAPI 3.0, for clients that speak Kafka and not HTTP. docs/kafka-records.md says
//! the same in words.
//!
//! Invariant: nothing of `[log.properties]` is shown but how a client proves who it is.

use serde_json::{Map, Value, json};

use super::options::Options;
use super::records::{JSON, MESSAGEPACK, OUTCOME, OWNER, SPEC_VERSION, command, name};
use super::topics::rules::{Role, settings};
use crate::decider::schemas::embed::Embedded;
use crate::message::{
    AGGREGATE_ID_BYTES_MAX, AggregateType, COMMAND_ID_BYTES_MAX, CORRELATION_ID_BYTES_MAX, partition_of,
};
use crate::outcome;

#[cfg(test)]
mod tests;

/// Version of the Kafka bindings that are used.
const BINDING: &str = "0.5.0";

/// The document over the active types.
pub fn document(options: &Options, partitions: u32, types: &[Embedded]) -> Value {
    let (mut channels, mut operations) = (Map::new(), Map::new());
    let (mut messages, mut schemas) = (Map::new(), Map::new());
    for of in types {
        // The names of active types were parsed when their modules came.
        let Ok(kind) = AggregateType::parse(&of.name) else { continue };
        let (commands, events) = (format!("{}.commands", of.name), format!("{}.events", of.name));
        let topic = |role, name: &str, messages: Value| channel(options, role, partitions, name, messages);
        let to = |kind: &str| json!({"$ref": format!("#/components/messages/{}.{kind}", of.name)});
        channels.insert(
            commands.clone(),
            topic(Role::Commands, &options.commands_topic(&kind), json!({"command": to("command")})),
        );
        let answers = json!({
            "event": to("event"), "outcome": to("outcome"), "owner": {"$ref": "#/components/messages/owner"},
        });
        channels.insert(events.clone(), topic(Role::Events, &options.events_topic(&kind), answers));
        operations.extend(operations_of(&of.name, &commands, &events));
        messages.insert(format!("{}.command", of.name), command_message(of));
        messages.insert(format!("{}.event", of.name), event_message(of));
        messages.insert(format!("{}.outcome", of.name), outcome_message(of));
        schemas.extend(of.components());
        let outcome = outcome::schema(&of.reference("event"), &of.rejection_in_outcome());
        schemas.insert(format!("{}.outcome", of.name), outcome);
    }
    messages.insert("owner".to_owned(), owner_message());
    schemas.values_mut().for_each(draft_7);
    let (servers, schemes) = servers(options);
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ordain on Kafka",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Commands are sent by anybody, with the aggregate's id as key and the partition chosen by murmur2 of \
                            it. Each has exactly one answer, its events or one outcome, in the topic of events, which is read \
                            with isolation.level=read_committed.",
        },
        "defaultContentType": JSON,
        "servers": servers,
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas, "securitySchemes": schemes},
    })
}

fn servers(options: &Options) -> (Map<String, Value>, Map<String, Value>) {
    let property = |names: &[&str]| names.iter().find_map(|name| options.properties.get(*name)).map(String::as_str);
    let protocol = property(&["security.protocol"]).unwrap_or("plaintext").to_ascii_lowercase();
    let mut schemes = Map::new();
    if protocol.starts_with("sasl") {
        let mechanism = property(&["sasl.mechanisms", "sasl.mechanism"]).unwrap_or_default();
        let kind = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => Some("plain"),
            "SCRAM-SHA-256" => Some("scramSha256"),
            "SCRAM-SHA-512" => Some("scramSha512"),
            "GSSAPI" => Some("gssapi"),
            _ => None,
        };
        schemes.extend(kind.map(|kind| ("sasl".to_owned(), json!({"type": kind}))));
    }
    let security: Vec<_> =
        schemes.keys().map(|name| json!({"$ref": format!("#/components/securitySchemes/{name}")})).collect();
    let brokers = options.brokers.split(',').map(str::trim).filter(|host| !host.is_empty());
    let servers = (1..).zip(brokers).map(|(n, host)| {
        let mut server =
            json!({"host": host, "protocol": if protocol.contains("ssl") { "kafka-secure" } else { "kafka" }});
        if !security.is_empty() {
            server["security"] = Value::Array(security.clone());
        }
        (format!("broker-{n}"), server)
    });
    (servers.collect(), schemes)
}

fn channel(options: &Options, role: Role, partitions: u32, topic: &str, messages: Value) -> Value {
    let mut configuration = Map::new();
    for (setting, value) in settings(role, u32::from(options.replication)) {
        // The others mean nothing to a client, and the bindings know no more.
        match setting {
            "cleanup.policy" => drop(configuration.insert(setting.to_owned(), json!([value]))),
            "retention.ms" | "retention.bytes" | "max.message.bytes" => {
                configuration.insert(setting.to_owned(), value.parse::<i64>().map_or(Value::Null, Value::from));
            }
            _ => {}
        }
    }
    let what = match role {
        Role::Commands => "What was asked: written by anybody.",
        _ => "What happened: events and outcomes, written by the owners of lanes alone.",
    };
    json!({
        "address": topic,
        "description": what,
        "messages": messages,
        "bindings": {"kafka": {
            "topic": topic, "partitions": partitions, "topicConfiguration": configuration, "bindingVersion": BINDING,
        }},
    })
}

/// What the hosts do: they receive commands, and send what became of them.
fn operations_of(of: &str, commands: &str, events: &str) -> [(String, Value); 2] {
    let channel = |name: &str| json!({"$ref": format!("#/channels/{name}")});
    let message = |channel: &str, kind: &str| json!({"$ref": format!("#/channels/{channel}/messages/{kind}")});
    let answers = [message(events, "event"), message(events, "outcome")];
    let receive = json!({
        "action": "receive",
        "channel": channel(commands),
        "messages": [message(commands, "command")],
        "reply": {"channel": channel(events), "messages": answers},
    });
    let send = json!({
        "action": "send",
        "channel": channel(events),
        "messages": [message(events, "event"), message(events, "outcome"), message(events, "owner")],
    });
    [(format!("{of}.decide"), receive), (format!("{of}.answer"), send)]
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn number(description: &str) -> Value {
    json!({"type": "string", "pattern": "^[0-9]+$", "description": description})
}

/// Headers as a schema. `required`: so many of the first ones are always there.
fn headers(all: Vec<(&std::ffi::CStr, Value)>, required: usize) -> Value {
    let names: Vec<String> = all.iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    let properties: Map<String, Value> = names.iter().cloned().zip(all.into_iter().map(|(_, schema)| schema)).collect();
    json!({"type": "object", "properties": properties, "required": &names[..required]})
}

fn content_type() -> (&'static std::ffi::CStr, Value) {
    let schema = json!({"type": "string", "enum": [JSON, MESSAGEPACK], "description": "The form of the value."});
    (name::CONTENT_TYPE, schema)
}

fn key(description: &str) -> Value {
    let schema =
        json!({"type": "string", "minLength": 1, "maxLength": AGGREGATE_ID_BYTES_MAX, "description": description});
    json!({"kafka": {"key": schema, "bindingVersion": BINDING}})
}

fn command_message(of: &Embedded) -> Value {
    let limits = command::Limits::default();
    let id = |what: &str| json!({"type": "string", "minLength": 1, "maxLength": COMMAND_ID_BYTES_MAX, "pattern": "^[!-~]+$", "description": what});
    let content = (name::CONTENT_TYPE, text(&format!("The form of the value: {JSON} without it, or {MESSAGEPACK}.")));
    let correlation = json!({
        "type": "string", "maxLength": CORRELATION_ID_BYTES_MAX, "description": "Kept with the command and its events.",
    });
    let all = vec![
        content,
        (
            name::ID,
            id(
                "The command's id: one that was answered is not decided again. Without it: {topic}-{partition}-{offset}.",
            ),
        ),
        (name::COMMAND_ID, id("The same, if there is no `ce_id`.")),
        (name::EXPECTED_VERSION, number("The version that the aggregate must have; 0: it must not exist.")),
        (
            name::TIME,
            json!({
                "type": "string", "format": "date-time",
                "description": "When it was sent; what is later than the host's clock counts as now. Without it: when the host takes it.",
            }),
        ),
        (name::CORRELATION_ID, correlation),
        (name::TRACEPARENT, text("W3C Trace Context.")),
    ];
    let description = format!(
        "All headers are optional; others become metadata that rules can read, at most {} with {} bytes. A value has at most {} bytes. \
         Partition: murmur2 of the key, as Kafka's Java client chooses it; the key \"acc-1\" of 16 partitions belongs to {}.",
        limits.headers_max,
        limits.headers_bytes_max,
        limits.value_bytes_max,
        partition_of("acc-1", 16),
    );
    json!({
        "name": "command",
        "title": format!("A command for {}", of.name),
        "description": description,
        "headers": headers(all, 0),
        "payload": of.reference("command"),
        "bindings": key("The aggregate's id."),
    })
}

/// The headers of events and outcomes. `id`, `kind`: what is said of `ce_id` and `ce_type`.
fn answer_headers(id: &str, kind: Value) -> Value {
    headers(
        vec![
            content_type(),
            (name::SPEC_VERSION, json!({"const": SPEC_VERSION})),
            (name::ID, text(id)),
            (name::SOURCE, text("Who wrote it.")),
            (name::TYPE, kind),
            (name::SUBJECT, text("The aggregate's id.")),
            (name::TIME, json!({"type": "string", "format": "date-time", "description": "The command's time."})),
            (name::SEQUENCE, number("The aggregate's version after this event, or at this outcome.")),
            (name::COMMAND_ID, text("The command's id.")),
            (name::COMMAND_HASH, json!({"type": "string", "pattern": "^[0-9a-f]{16}$"})),
            (name::COMMAND_INDEX, number("Number of the event among those of its command, from 1; 0 for an outcome.")),
            (name::COMMAND_COUNT, number("Number of events of the command; 0 for an outcome.")),
            (name::COMMAND_OFFSET, number("Offset of the command in its topic, in the same partition.")),
            (name::LOG_SEQUENCE, number("Dense number of the record in its partition, from 0.")),
            (name::MODULE, outcome::digest_schema()),
            (name::EPOCH, number("Offset of the record by which the writer took its lane.")),
            (name::CORRELATION_ID, text("As the command had it.")),
            (name::TRACEPARENT, text("As the command had it.")),
        ],
        16,
    )
}

fn event_message(of: &Embedded) -> Value {
    let kind = match of.events() {
        Some(names) => {
            let kinds: Vec<_> = names.iter().map(|name| format!("{}.{name}", of.name)).collect();
            json!({"type": "string", "enum": kinds})
        }
        None => text(&format!("{}.{{Variant}}", of.name)),
    };
    json!({
        "name": "event",
        "title": format!("An event of {}", of.name),
        "description": "The event whose ce_commandindex is its ce_commandcount ends its command: it is the outcome `accepted`.",
        "headers": answer_headers("{type}/{id}/{version}", kind),
        "payload": of.reference("event"),
        "correlationId": {"location": format!("$message.header#/{}", name::COMMAND_ID.to_string_lossy())},
        "bindings": key("The aggregate's id."),
    })
}

fn outcome_message(of: &Embedded) -> Value {
    json!({
        "name": "outcome",
        "title": format!("What became of a command for {} that has no events of its own", of.name),
        "description": "Every outcome but `accepted` with events; and the first answer again where a command id was repeated.",
        "headers": answer_headers("{type}/{id}/outcome-{number}", json!({"const": OUTCOME})),
        "payload": of.reference("outcome"),
        "correlationId": {"location": format!("$message.header#/{}", name::COMMAND_ID.to_string_lossy())},
        "bindings": key("The aggregate's id; of a command that names none, one that begins with ordain.unrouted."),
    })
}

fn owner_message() -> Value {
    let all = vec![
        (name::CONTENT_TYPE, json!({"const": JSON})),
        (name::SPEC_VERSION, json!({"const": SPEC_VERSION})),
        (name::TYPE, json!({"const": OWNER})),
        (name::ID, text("owner/{lane}/{nonce}")),
        (name::SOURCE, text("Who wrote it.")),
        (name::TIME, json!({"type": "string", "format": "date-time"})),
    ];
    json!({
        "name": "owner",
        "title": "A host took a lane",
        "description": "A mark between the records of two owners. It says nothing about aggregates: skip it.",
        "headers": headers(all, 6),
        "payload": {"type": "object"},
    })
}

/// AsyncAPI's schemas are those of JSON Schema draft 7: what later drafts call otherwise is called as it was there.
fn draft_7(schema: &mut Value) {
    match schema {
        Value::Array(all) => all.iter_mut().for_each(draft_7),
        Value::Object(all) => {
            all.values_mut().for_each(draft_7);
            if let Some(Value::Array(first)) = all.get("prefixItems") {
                let first = Value::Array(first.clone());
                all.remove("prefixItems");
                if let Some(rest) = all.insert("items".to_owned(), first) {
                    all.insert("additionalItems".to_owned(), rest);
                }
            }
        }
        _ => {}
    }
}
