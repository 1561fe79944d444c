//! What the safe wrapper of librdkafka lacks: a transactional producer that sees how often EndTxn was sent and does not
//! poll while it commits, and a consumer that takes many records at once. Unsafe code of the Kafka log is below this
//! module alone.

pub mod admin;
pub mod consumer;
pub mod logging;
pub mod producer;

use std::fmt;

/// A request to Kafka failed. The flags are librdkafka's; an error without any is to be treated as fatal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaError {
    /// Its name, as `_FENCED`.
    pub name: String,
    /// librdkafka's sentence.
    pub text: String,
    /// The client is of no use any more.
    pub fatal: bool,
    /// The same call may be made again.
    pub retriable: bool,
    /// The transaction must be aborted.
    pub abortable: bool,
}

/// Name of the refusal of a record that is too large.
const TOO_LARGE: &str = "MSG_SIZE_TOO_LARGE";

impl KafkaError {
    /// An error of our own.
    pub fn other(text: impl Into<String>) -> Self {
        Self { name: "ordain".into(), text: text.into(), fatal: true, retriable: false, abortable: false }
    }

    /// A record of ours that a topic does not take.
    pub fn too_large(text: impl Into<String>) -> Self {
        Self { name: TOO_LARGE.into(), ..Self::other(text) }
    }

    /// The brokers refuse a record for what it is, and would again (R6).
    pub fn is_refusal(&self) -> bool {
        [TOO_LARGE, "RECORD_LIST_TOO_LARGE", "INVALID_RECORD", "INVALID_TIMESTAMP"].contains(&self.name.as_str())
    }

    /// A partition has nothing at the offset that was asked for.
    pub fn is_out_of_range(&self) -> bool {
        matches!(self.name.as_str(), "_AUTO_OFFSET_RESET" | "OFFSET_OUT_OF_RANGE" | "_LOG_TRUNCATION")
    }

    /// Somebody else has taken what this producer was for.
    pub fn is_fenced(&self) -> bool {
        matches!(self.name.as_str(), "_FENCED" | "PRODUCER_FENCED" | "INVALID_PRODUCER_EPOCH")
    }
}

impl fmt::Display for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}){}", self.text, self.name, advice(&self.text))
    }
}

/// What to do about an error that says that a right is missing, to be appended to it; empty for other errors.
pub fn advice(text: &str) -> &'static str {
    if ["uthoriz", "ccess denied"].iter().any(|word| text.contains(word)) {
        ": `ordain topics create --print` shows the rights that a host needs"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_rights_says_where_they_are() {
        let told = |text: &str| KafkaError::other(text).to_string();
        assert!(told("Broker: Transactional Id authorization failed").ends_with("the rights that a host needs"));
        assert!(!told("Local: Timed out").contains("rights"));
    }
}
