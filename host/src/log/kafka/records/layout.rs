//! The layout of a log: how many partitions and lanes it has, and which topics (R3). It is a record in every partition of
//! the topic of lanes, and never guessed from what a cluster happens to hold.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{OwnedRecord, RecordView, json_record, name};
use crate::message::AggregateType;

/// Key of the record.
pub const KEY: &str = "layout";
/// `ce_type` of the record.
pub const LAYOUT: &str = "ordain.layout";

/// How a log is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The cluster that the topics are in.
    pub cluster_id: String,
    /// Counts changes of the number of lanes; part of the names of transactions.
    pub generation: u32,
    /// Partitions of each topic of commands or events.
    pub partitions: u32,
    /// Lanes, which are the partitions of the topic of lanes.
    pub lanes: u32,
    /// The types, each with a slot of its own.
    pub types: Vec<LayoutType>,
}

/// The topics of a type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutType {
    /// The type.
    pub name: String,
    /// Its number, which the numbers of its streams are made of: never used for another type.
    pub slot: u32,
    /// Id of its topic of commands.
    pub commands_topic_id: String,
    /// Id of its topic of events.
    pub events_topic_id: String,
}

impl Layout {
    /// The record, written by `source`.
    pub fn record(&self, source: &str) -> OwnedRecord {
        let id = format!("layout/{}/{}", self.cluster_id, self.generation);
        json_record(KEY, LAYOUT, self, &[(name::ID, &id), (name::SOURCE, source)])
    }

    /// Reads a record; `None` if it has another key.
    ///
    /// # Errors
    /// A sentence, if it is no layout that this version understands.
    pub fn read(record: &RecordView<'_>) -> Option<Result<Self, String>> {
        if record.key != Some(KEY.as_bytes()) {
            return None;
        }
        Some(Self::parse(record.value.unwrap_or_default()))
    }

    fn parse(json: &[u8]) -> Result<Self, String> {
        let layout: Self = serde_json::from_slice(json)
            .map_err(|e| format!("the record of the layout cannot be read ({e}): is it of a later version?"))?;
        let refuse = |what: String| Err(format!("the record of the layout {what}: restore the topic of lanes"));
        if layout.partitions == 0 || layout.lanes == 0 {
            return refuse("has no partitions or no lanes".into());
        }
        let (mut names, mut slots) = (BTreeSet::new(), BTreeSet::new());
        for one in &layout.types {
            if let Err(bad) = AggregateType::parse(&one.name) {
                return refuse(format!("names a wrong type ({bad})"));
            }
            if !names.insert(&*one.name) || !slots.insert(one.slot) {
                return refuse(format!("names type {:?} or slot {} twice", one.name, one.slot));
            }
        }
        Ok(layout)
    }
}
