//! The record by which a host takes a lane (R1, R2, R10): in every partition of events of the lane, where restore ends at
//! it, and in the lane's own partition, where its offset is the term and its address makes every node's directory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{OWNER, OwnedRecord, RecordView, json_record, name, time};
use crate::message::Digest;

/// Key of the record.
pub const KEY: &str = "owner";

/// Who took a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The lane.
    pub lane: u32,
    /// Tells this taking from every other.
    pub nonce: String,
    /// Where the owner's HTTP API is reached by other nodes; none if by nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The module that decides for each type.
    #[serde(default)]
    pub modules: BTreeMap<String, Digest>,
}

impl Owner {
    /// The record, written by `source` at `time_ms`.
    pub fn record(&self, source: &str, time_ms: i64) -> OwnedRecord {
        let time = time::text(time_ms);
        let time = String::from_utf8_lossy(&time);
        let id = format!("owner/{}/{}", self.lane, self.nonce);
        json_record(KEY, OWNER, self, &[(name::ID, &id), (name::SOURCE, source), (name::TIME, &time)])
    }

    /// Reads a record; `None` if it is another kind of record.
    ///
    /// # Errors
    /// A sentence, if it says to be an owner's record and cannot be read.
    pub fn read(record: &RecordView<'_>) -> Option<Result<Self, String>> {
        if !super::fields::Fields::is_owner(record.headers) {
            return None;
        }
        let read = serde_json::from_slice(record.value.unwrap_or_default());
        Some(read.map_err(|e| format!("a record of type {OWNER} cannot be read: {e}")))
    }
}
