//! Which properties of librdkafka cannot be passed through, each with its reason.

use rdkafka::ClientConfig;

/// What Ordain must fix, because a promise depends on it, or because a setting of its own says it.
const FIXED: [(&[&str], &str); 20] = [
    (&["bootstrap.servers", "metadata.broker.list"], "set `log.brokers`"),
    (&["group.id"], "set `log.group`"),
    (&["group.instance.id"], "set `log.instance`"),
    (&["session.timeout.ms"], "set `log.session_timeout_ms`"),
    (&["transactional.id"], "it is the fence of a lane, and follows from `log.prefix` and the lane (docs/kafka.md)"),
    (&["enable.idempotence", "enable.gapless.guarantee"], "a command would be answered twice after a retry"),
    (&["acks", "request.required.acks"], "an answer is given only for what all replicas in sync have"),
    (&["max.in.flight", "max.in.flight.requests.per.connection"], "records of a lane must stay in their order"),
    (&["isolation.level"], "only committed records count"),
    (
        &["auto.offset.reset", "topic.auto.offset.reset"],
        "a log that was cut short must be refused by name, never skipped over",
    ),
    (
        &["enable.auto.commit", "auto.commit.enable", "auto.commit.interval.ms", "enable.auto.offset.store"],
        "which command comes next is read from the events, never from offsets of a group",
    ),
    (&["enable.partition.eof"], "each reader of Ordain decides that itself"),
    (&["check.crcs"], "every record's checksum is compared"),
    (
        &["partitioner", "partitioner_cb", "msg_order_cmp"],
        "one hash everywhere, murmur2, or an aggregate gets two owners",
    ),
    (
        &["partition.assignment.strategy", "group.protocol", "group.remote.assignor"],
        "lanes move one by one (cooperative-sticky)",
    ),
    (&["allow.auto.create.topics"], "a topic that a broker creates by itself has the wrong settings"),
    (&["message.max.bytes", "max.message.bytes", "batch.size"], "it follows from `max.message.bytes` of the topic"),
    (
        &["delivery.report.only.error", "enabled_events", "produce.offset.report"],
        "the offset of every record is checked",
    ),
    (
        &["transaction.timeout.ms"],
        "an open transaction blocks readers for so long: it is kept as short as the fence allows",
    ),
    (&["test.mock.num.brokers", "test.mock.broker.rtt"], "nothing would be kept"),
];

/// Why a property cannot be passed through; `None` if it can.
pub fn refused_property(name: &str, value: &str) -> Option<String> {
    if let Some((_, why)) = FIXED.iter().find(|(names, _)| names.contains(&name)) {
        return Some((*why).to_owned());
    }
    if name.contains("\0") || value.contains("\0") {
        return Some("it holds a zero byte".into());
    }
    let mut config = ClientConfig::new();
    config.set(name, value);
    config.create_native_config().err().map(|error| match error {
        rdkafka::error::KafkaError::ClientConfig(_, reason, ..) if is_secret(name) && !value.is_empty() => {
            reason.replace(value, "(hidden)")
        }
        rdkafka::error::KafkaError::ClientConfig(_, reason, ..) => reason,
        other => other.to_string(),
    })
}

/// Whether nobody may read a property's value in a log or on a screen.
pub fn is_secret(name: &str) -> bool {
    ["password", "secret", "key.pem", "private.key", "passphrase", "sasl.oauthbearer.config"]
        .iter()
        .any(|word| name.contains(word))
}
