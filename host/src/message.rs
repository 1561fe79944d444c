//! The words of the system as types: parsed once at the edge, trusted everywhere else.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest aggregate id in bytes.
pub const AGGREGATE_ID_BYTES_MAX: usize = 256;
/// Longest command id in bytes.
pub const COMMAND_ID_BYTES_MAX: usize = 128;
/// Longest correlation id in bytes.
pub const CORRELATION_ID_BYTES_MAX: usize = 256;
/// Names that a path of the HTTP API already uses, so no aggregate type may.
const RESERVED_TYPES: [&str; 5] = ["modules", "commands", "events", "openapi", "docs"];

/// A word that does not follow its rules; the message says which rule and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadWord(pub String);

/// The name of a kind of aggregate: `[a-z][a-z0-9-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AggregateType(Arc<str>);

impl AggregateType {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`BadWord`] if it is not `[a-z][a-z0-9-]{0,62}` or is reserved for a path of the API.
    pub fn parse(name: &str) -> Result<Self, BadWord> {
        let mut chars = name.bytes();
        let head = chars.next().is_some_and(|c| c.is_ascii_lowercase());
        let tail = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
        if !head || !tail || name.len() > 63 {
            return Err(BadWord(format!(
                "the aggregate type {name:?} is not valid: use 1 to 63 of a-z, 0-9 and '-', a letter first"
            )));
        }
        if RESERVED_TYPES.contains(&name) {
            return Err(BadWord(format!("the aggregate type {name:?} is reserved for the API: choose another name")));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of one aggregate within its type: 1–256 bytes of UTF-8 without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AggregateId(Box<str>);

impl AggregateId {
    /// Checks and takes an id.
    ///
    /// # Errors
    /// [`BadWord`] if it is empty, longer than [`AGGREGATE_ID_BYTES_MAX`] or holds a control character.
    pub fn parse(id: &str) -> Result<Self, BadWord> {
        if id.is_empty() || id.len() > AGGREGATE_ID_BYTES_MAX {
            return Err(BadWord(format!(
                "an aggregate id has 1 to {AGGREGATE_ID_BYTES_MAX} bytes, this one {}",
                id.len()
            )));
        }
        if id.chars().any(char::is_control) {
            return Err(BadWord(format!("the aggregate id {id:?} holds a control character: remove it")));
        }
        Ok(Self(id.into()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of one command: 1–128 visible ASCII characters. The same id twice for one aggregate is the same command.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct CommandId(Box<str>);

impl CommandId {
    /// Checks and takes an id.
    ///
    /// # Errors
    /// [`BadWord`] if it is empty, longer than [`COMMAND_ID_BYTES_MAX`] or not visible ASCII.
    pub fn parse(id: &str) -> Result<Self, BadWord> {
        if id.is_empty() || id.len() > COMMAND_ID_BYTES_MAX || !id.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(BadWord(format!(
                "the command id {id:?} is not valid: use 1 to {COMMAND_ID_BYTES_MAX} visible ASCII characters without spaces"
            )));
        }
        Ok(Self(id.into()))
    }

    /// A fresh one that sorts by the time it was made (UUIDv7).
    pub fn fresh() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! shown_as_str {
    ($($word:ty),+) => {$(
        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}
shown_as_str!(AggregateType, AggregateId, CommandId);

/// SHA-256 of a module's file: its identity. Shown and read as `sha256:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of a module's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The 64 hex digits alone.
    pub fn hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Reads `sha256:` and 64 hex digits, or the digits alone.
    ///
    /// # Errors
    /// [`BadWord`] if it is neither.
    pub fn parse(text: &str) -> Result<Self, BadWord> {
        let bad = || BadWord(format!("{text:?} is not a module digest: write sha256: and 64 hex digits"));
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(bad());
        }
        let mut out = [0; 32];
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(out))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// A command on its way to its lane. Never changed after the edge made it.
#[derive(Debug, Clone)]
pub struct Command {
    /// The numbered sequence its answer goes to. On the embedded log the partition where its aggregate lives
    /// ([`partition_of`] its id); on Kafka the one of its type's topics too, see [`crate::log::LaneLog::stream_of`].
    pub partition: u32,
    /// Its offset in the log of commands, where there is one; else its answer's place counts.
    pub offset: Option<u64>,
    /// Why it cannot be decided, if that was seen when it was read: it is answered with this failure.
    pub defect: Option<Box<Defect>>,
    /// The kind of aggregate it is for.
    pub aggregate_type: AggregateType,
    /// The aggregate it is for.
    pub aggregate_id: AggregateId,
    /// Its own name.
    pub command_id: CommandId,
    /// The version the caller expects; 0 = must not exist; `None` = any.
    pub expected_version: Option<u64>,
    /// When the host took it, in milliseconds since 1970-01-01 UTC. The only time rules ever see.
    pub time_ms: i64,
    /// What the caller correlates it with; empty if nothing.
    pub correlation_id: Box<str>,
    /// W3C trace context as received; empty if none.
    pub traceparent: Box<str>,
    /// The caller's free metadata as a MessagePack map; empty if none.
    pub metadata: Box<[u8]>,
    /// The command itself as MessagePack (externally tagged, named).
    pub body: Box<[u8]>,
    /// Order-insensitive hash of `body` ([`crate::json::body_hash`]): the same id with another one is refused.
    pub body_hash: u64,
}

impl Command {
    /// Its aggregate's type and id, and its own id.
    pub fn names(&self) -> (&str, &str, &str) {
        (self.aggregate_type.as_str(), self.aggregate_id.as_str(), self.command_id.as_str())
    }
}

/// What keeps a command that is in the log of commands from being decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// The kind of failure.
    pub reason: FailureReason,
    /// What is wrong with it and what to send instead.
    pub message: Box<str>,
}

/// Why a command failed: it has no events, nobody's rules said no, and trying again under the same id gives the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum FailureReason {
    /// The module cannot decode the command.
    Unreadable = 0,
    /// The module trapped or panicked, twice.
    Trap = 1,
    /// The decision took longer than its limit.
    Timeout = 2,
    /// The module asked for more memory than its limit.
    Memory = 3,
    /// The result has too many bytes or events.
    TooLarge = 4,
    /// The command came on a partition its id does not belong to.
    Misrouted = 5,
    /// Its id was used for another command of this aggregate.
    CommandIdReused = 6,
    /// The aggregate's committed events cannot be folded by the active module.
    Quarantined = 7,
}

impl FailureReason {
    /// All reasons, at the index of their number.
    pub const ALL: [Self; 8] = [
        Self::Unreadable,
        Self::Trap,
        Self::Timeout,
        Self::Memory,
        Self::TooLarge,
        Self::Misrouted,
        Self::CommandIdReused,
        Self::Quarantined,
    ];

    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::TooLarge => "too_large",
            Self::Misrouted => "misrouted",
            Self::CommandIdReused => "command_id_reused",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Whether a text may be a correlation id: at most [`CORRELATION_ID_BYTES_MAX`] bytes without control characters.
pub fn is_correlation_id(text: &str) -> bool {
    text.len() <= CORRELATION_ID_BYTES_MAX && !text.chars().any(char::is_control)
}

/// Whether a text is a `traceparent` of W3C Trace Context.
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let some = |part: &str| part.bytes().any(|b| b != b'0');
    parts.len() == 4
        && hex(parts[0], 2)
        && parts[0] != "ff"
        && hex(parts[1], 32)
        && some(parts[1])
        && hex(parts[2], 16)
        && some(parts[2])
        && hex(parts[3], 2)
}

/// The partition an aggregate lives in: Kafka's murmur2 of its id, as Kafka's Java client computes it, modulo `partitions`.
pub fn partition_of(id: &str, partitions: u32) -> u32 {
    (murmur2(id.as_bytes()) & 0x7fff_ffff) % partitions
}

/// MurmurHash2 as in Kafka's `Utils.murmur2` (Apache Kafka, `clients/.../utils/Utils.java`).
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h: u32 = 0x9747_b28c ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = words.remainder();
    for (i, byte) in tail.iter().enumerate() {
        h ^= u32::from(*byte) << (8 * i);
    }
    if !tail.is_empty() {
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors from Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_agrees_with_kafka() {
        for (text, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn words_are_checked_once() {
        assert!(AggregateType::parse("account").is_ok());
        for bad in ["", "Account", "1a", "modules", "a_b", &"a".repeat(64)] {
            assert!(AggregateType::parse(bad).is_err(), "{bad}");
        }
        assert!(AggregateId::parse("ä/ö 1").is_ok());
        assert!(AggregateId::parse("a\nb").is_err());
        assert!(CommandId::parse("a b").is_err());
        let digest = Digest::of(b"x");
        assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
    }
}
