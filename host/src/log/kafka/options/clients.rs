//! The settings of every kind of client, which hold where the properties that are passed through say nothing else. Measured:
//! docs/kafka.md says why. What differs from one client to the next of a kind (ids, groups, batches) is not among them.

/// A property of librdkafka and its value.
pub type Setting = (&'static str, &'static str);

/// Milliseconds after which clients ask anew who leads: a broker that was cut off from the controller serves its old end
/// without an error, and takes records that it never acknowledges.
pub const LEADERS: Setting = ("topic.metadata.refresh.interval.ms", "3000");
/// Every connection is kept: to make one takes longer than a commit.
const CONNECTED: Setting = ("enable.sparse.connections", "false");
const SILENT: Setting = ("enable.metrics.push", "false");
const WARNINGS: Setting = ("log_level", "3");

/// The producer of a lane.
pub const LANE: &[Setting] = &[
    ("transaction.timeout.ms", "10000"),
    ("message.timeout.ms", "9000"),
    ("socket.timeout.ms", "10000"),
    ("linger.ms", "0"),
    ("retry.backoff.ms", "1"),
    ("retry.backoff.max.ms", "3"),
    ("reconnect.backoff.ms", "5"),
    LEADERS,
    CONNECTED,
    ("queue.buffering.max.messages", "2000000"),
    ("queue.buffering.max.kbytes", "1048576"),
    ("message.max.bytes", "1000000000"),
    ("compression.type", "lz4"),
    SILENT,
    WARNINGS,
];

/// The producer that writes the layout. It is tried again, and what it says is told by its errors.
pub const LAYOUT: &[Setting] = &[
    ("transaction.timeout.ms", "10000"),
    ("message.timeout.ms", "9000"),
    ("socket.timeout.ms", "10000"),
    ("linger.ms", "0"),
    ("retry.backoff.ms", "5"),
    ("retry.backoff.max.ms", "50"),
    ("reconnect.backoff.ms", "5"),
    CONNECTED,
    ("log_level", "0"),
];

/// The producer that appends commands.
pub const COMMANDS: &[Setting] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("linger.ms", "0"),
    ("message.timeout.ms", "15000"),
    ("retry.backoff.ms", "5"),
    ("reconnect.backoff.ms", "5"),
    LEADERS,
    CONNECTED,
    ("compression.type", "lz4"),
    ("message.max.bytes", "10000000"),
    SILENT,
    WARNINGS,
];

/// A consumer that is given its partitions, whatever it reads.
pub const READER: &[Setting] = &[
    ("isolation.level", "read_committed"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "false"),
    ("check.crcs", "true"),
    ("fetch.error.backoff.ms", "50"),
    LEADERS,
    CONNECTED,
    ("reconnect.backoff.ms", "5"),
    SILENT,
    WARNINGS,
];

/// What a reader that restores a lane has besides: throughput.
pub const RESTORE: &[Setting] = &[
    ("fetch.message.max.bytes", "16777216"),
    ("queued.min.messages", "500000"),
    ("queued.max.messages.kbytes", "131072"),
    ("fetch.wait.max.ms", "10"),
    ("fetch.queue.backoff.ms", "1"),
];

/// What a reader of a lane's commands has besides: bounded memory, no waits of our own making.
pub const FEED: &[Setting] = &[
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.message.max.bytes", "2097152"),
    ("fetch.wait.max.ms", "500"),
    ("fetch.queue.backoff.ms", "5"),
];

/// The reader of the layout: of few records, once.
pub const LAYOUT_READER: &[Setting] = &[
    ("enable.auto.commit", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
    ("check.crcs", "true"),
    ("fetch.wait.max.ms", "10"),
    CONNECTED,
    ("reconnect.backoff.ms", "5"),
];

/// A member of the group of hosts.
pub const MEMBER: &[Setting] = &[
    ("max.poll.interval.ms", "300000"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    SILENT,
    WARNINGS,
];

/// Who commits offsets for tools. So long a commit may take at most: for its coordinator to be found, and to answer.
pub const LAG: &[Setting] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("session.timeout.ms", "6000"),
    ("socket.timeout.ms", "6000"),
    SILENT,
    WARNINGS,
];
