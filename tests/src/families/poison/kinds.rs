//! The kinds of records, and what must become of each.

use crate::clock;
use crate::dice::Dice;
use crate::raw::RawRecord;

pub(in crate::families) const OPEN: &str = r#"{"Open":{"owner":"ada","overdraft_limit":0}}"#;
pub(in crate::families) const DEPOSIT: &str = r#"{"Deposit":{"amount":1}}"#;
const MIB: usize = 1024 * 1024;
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// The answer that must come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wants {
    /// This word.
    Answer(&'static str),
    /// `failed`, for this reason.
    Failed(&'static str),
}

/// Whose key a record has.
#[derive(Debug, Clone)]
enum Key {
    /// That of the account that lives in its partition.
    Home,
    /// That of an account in its partition which is not open yet.
    Unopened,
    /// That of the next partition's.
    Neighbour,
    /// These bytes, or none.
    Raw(Option<Vec<u8>>),
}

/// A kind of record.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    pub name: &'static str,
    pub wants: Wants,
    pub codec: Option<&'static str>,
    pub copies: usize,
    key: Key,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp_ms: Option<i64>,
}

impl Kind {
    /// The record, for a partition.
    pub fn record(&self, homes: &[String], partition: u32) -> RawRecord {
        let at = partition as usize;
        let key = match &self.key {
            Key::Home => Some(homes[at].clone().into_bytes()),
            Key::Unopened => Some(super::home_in("unopened", partition).into_bytes()),
            Key::Neighbour => Some(homes[(at + 1) % homes.len()].clone().into_bytes()),
            Key::Raw(key) => key.clone(),
        };
        let (value, headers) = (self.value.clone(), self.headers.clone());
        RawRecord { partition, key, value, headers, timestamp_ms: self.timestamp_ms }
    }

    fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), Some(value.into())));
        self
    }

    fn with_null(mut self, name: &str) -> Self {
        self.headers.push((name.to_owned(), None));
        self
    }
}

/// A good deposit, of which one thing will be wrong.
fn kind(name: &'static str, wants: Wants) -> Kind {
    Kind {
        name,
        wants,
        codec: None,
        copies: 1,
        key: Key::Home,
        value: Some(DEPOSIT.into()),
        headers: Vec::new(),
        timestamp_ms: None,
    }
}

fn unreadable(name: &'static str) -> Kind {
    kind(name, Wants::Failed("unreadable"))
}

fn too_large(name: &'static str) -> Kind {
    kind(name, Wants::Failed("too_large"))
}

fn fine(name: &'static str) -> Kind {
    kind(name, Wants::Answer("accepted"))
}

fn keyed(name: &'static str, key: Option<&[u8]>) -> Kind {
    Kind { key: Key::Raw(key.map(<[u8]>::to_vec)), ..unreadable(name) }
}

fn valued(of: Kind, value: impl Into<Vec<u8>>) -> Kind {
    Kind { value: Some(value.into()), ..of }
}

/// An account's opening with an owner so long that the value has this many bytes.
pub(in crate::families) fn opening(bytes: usize) -> String {
    let frame = r#"{"Open":{"owner":"","overdraft_limit":0}}"#.len();
    // Nothing that compression makes smaller: brokers compare what comes over the wire.
    let mut dice = Dice::new(bytes as u64, "owner");
    let owner: String =
        (frame..bytes).map(|_| char::from(LETTERS[dice.below(LETTERS.len() as u64) as usize])).collect();
    format!(r#"{{"Open":{{"owner":"{owner}","overdraft_limit":0}}}}"#)
}

/// All of them, in the order in which they are sent.
pub(super) fn all() -> Vec<Kind> {
    [keys(), values(), sizes(), headers(), ids(), others()].concat()
}

fn keys() -> Vec<Kind> {
    vec![
        keyed("a null key", None),
        keyed("an empty key", Some(b"")),
        keyed("a key that is not UTF-8", Some(b"acc-\xff\xfe")),
        keyed("a key with control characters", Some(b"acc\r\n\x1b[2J\0")),
        keyed("a key of 257 bytes", Some(&[b'k'; 257])),
        keyed("a reserved key", Some(b"ordain.unrouted.3")),
        Kind { key: Key::Neighbour, ..kind("a key of another partition", Wants::Failed("misrouted")) },
        Kind { key: Key::Raw(None), value: None, ..unreadable("nothing at all") },
    ]
}

fn values() -> Vec<Kind> {
    let json = |name, value: &str| valued(unreadable(name), value);
    let msgpack = |name, value: &[u8]| valued(unreadable(name), value).with("content-type", "application/msgpack");
    vec![
        Kind { value: None, ..unreadable("a tombstone") },
        json("an empty value", ""),
        json("no JSON", "hello"),
        json("JSON that is cut", r#"{"Deposit":{"amou"#),
        json("two JSON values", r#"{"Deposit":{"amount":1}} {}"#),
        json("deep nesting", &"[".repeat(100_000)),
        json("deep nesting that ends", &format!("{}{}", "[".repeat(50_000), "]".repeat(50_000))),
        json("a number beyond every float", r#"{"Deposit":{"amount":1e999999}}"#),
        json("a number of ten thousand digits", &format!(r#"{{"Deposit":{{"amount":{}}}}}"#, "9".repeat(10_000))),
        valued(kind("a negative amount", Wants::Answer("rejected")), r#"{"Deposit":{"amount":-1}}"#),
        json("an unknown variant", r#"{"Nonsense":{"amount":1}}"#),
        json("a field that is missing", r#"{"Deposit":{}}"#),
        json("another shape", "42"),
        json("half a surrogate pair", r#"{"Open":{"owner":"\ud800","overdraft_limit":0}}"#),
        valued(unreadable("bytes that are not UTF-8"), b"{\"Deposit\":{\"\xff\":1}}".as_slice()),
        msgpack("a byte that MessagePack never uses", b"\xc1"),
        msgpack("MessagePack that promises more", b"\xdf\xff\xff\xff\xff\xa1"),
        msgpack("two MessagePack values", b"\xc0\xc0"),
        msgpack("JSON called MessagePack", DEPOSIT.as_bytes()),
        unreadable("an unknown content type").with("content-type", "text/xml"),
        unreadable("a content type that is no text").with("content-type", b"\xff\0\x01".as_slice()),
        unreadable("two content types").with("content-type", "application/json").with("content-type", "text/xml"),
        fine("a null content type").with_null("content-type"),
    ]
}

fn sizes() -> Vec<Kind> {
    vec![
        Kind {
            key: Key::Unopened,
            ..valued(too_large("a value just below the largest, whose event does not fit"), opening(MIB))
        },
        valued(too_large("a value just above the largest"), opening(MIB + 1)),
        valued(too_large("a value that the topic just takes"), opening(4 * MIB - 200)),
        Kind { codec: Some("zstd"), ..valued(too_large("32 MiB packed into nothing"), "x".repeat(32 * MIB)) },
        too_large("a header of a megabyte").with("ce_id", "vast-header").with("x-note", vec![b'n'; MIB]),
        (0..5_000).fold(too_large("five thousand headers").with("ce_id", "many-headers"), |kind, n| {
            kind.with(&format!("x-{n}"), "y")
        }),
        too_large("a header's name of 20 kB").with(&"n".repeat(20_000), ""),
    ]
}

fn headers() -> Vec<Kind> {
    vec![
        fine("headers twice, null and without a text")
            .with("x-a", "1")
            .with("x-a", "2")
            .with_null("x-b")
            .with("x-c", b"\xff".as_slice()),
        fine("null headers that mean something")
            .with_null("ce_id")
            .with_null("ce_correlationid")
            .with_null("traceparent"),
        fine("a header without a name").with("", "nameless"),
        unreadable("a time that is none").with("ce_time", "yesterday"),
        fine("a trace that is none").with("traceparent", "00-zz-zz-zz"),
        unreadable("an expected version that is no number").with("ce_expectedversion", "-1"),
        unreadable("an expected version beyond 64 bits").with("ce_expectedversion", "18446744073709551616"),
        unreadable("a null expected version").with_null("ce_expectedversion"),
        kind("an expected version that is wrong", Wants::Answer("conflict")).with("ce_expectedversion", "999999"),
        unreadable("a correlation id of 300 bytes").with("ce_correlationid", vec![b'c'; 300]),
        unreadable("metadata that is no map").with("ordain-metadata", b"\xff\xff".as_slice()),
    ]
}

fn ids() -> Vec<Kind> {
    vec![
        unreadable("an empty id").with("ce_id", ""),
        unreadable("an id of 129 bytes").with("ce_id", vec![b'i'; 129]),
        unreadable("an id with a space").with("ce_id", "a b"),
        unreadable("an id that is not UTF-8").with("ce_id", b"\xff\xfe".as_slice()),
        unreadable("two ids").with("ce_id", "one").with("ce_id", "two"),
    ]
}

fn others() -> Vec<Kind> {
    let now_ms = clock::unix_seconds() * 1_000;
    let minutes = |n: i64| n * 60_000;
    let codec = |name, codec| Kind { codec: Some(codec), copies: 50, ..fine(name) };
    vec![
        Kind { timestamp_ms: Some(now_ms + minutes(50)), ..fine("a time 50 minutes ahead") },
        Kind { timestamp_ms: Some(1), ..fine("a time in 1970") },
        codec("a batch of gzip", "gzip"),
        codec("a batch of snappy", "snappy"),
        codec("a batch of lz4", "lz4"),
        codec("a batch of zstd", "zstd"),
    ]
}
