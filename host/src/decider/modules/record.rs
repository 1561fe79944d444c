//! What the registry remembers over a restart: one JSON file, written as a whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::message::Digest;

/// Form of the file.
pub const FORMAT: u32 = 1;
/// Former modules of a type that are listed; all stay in the store.
pub const FORMER_MAX: usize = 100;

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// What is active, by aggregate type.
    pub types: BTreeMap<String, TypeRecord>,
    /// What was last seen in the modules folder, by file name.
    pub files: BTreeMap<String, FileRecord>,
}

/// The modules of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeRecord {
    /// The active one.
    pub active: Digest,
    /// Since when, in milliseconds since 1970-01-01 UTC.
    pub since_ms: i64,
    /// Number of publications of this type.
    pub generation: u64,
    /// File name or `upload`.
    pub origin: String,
    /// The ones before, newest first.
    pub former: Vec<FormerRecord>,
}

/// A module that was active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormerRecord {
    /// Its digest.
    pub digest: Digest,
    /// Since when it was active, in milliseconds since 1970-01-01 UTC.
    pub since_ms: i64,
}

/// A file that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Digest of its bytes: as long as they are the same it is no arrival.
    pub digest: Digest,
    /// When these bytes arrived, in milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
    /// The type of its module; nothing if it was refused.
    pub aggregate_type: Option<String>,
}

impl Default for Record {
    fn default() -> Self {
        Self { format: FORMAT, types: BTreeMap::new(), files: BTreeMap::new() }
    }
}

impl Record {
    /// Makes a module the active one of a type and gives its generation.
    pub fn activate(&mut self, aggregate_type: &str, digest: Digest, origin: &str, now_ms: i64) -> u64 {
        let mut next = TypeRecord {
            active: digest,
            since_ms: now_ms,
            generation: 1,
            origin: origin.to_owned(),
            former: Vec::new(),
        };
        if let Some(mut before) = self.types.remove(aggregate_type) {
            next.generation = before.generation + 1;
            next.former = std::mem::take(&mut before.former);
            next.former.retain(|one| one.digest != digest);
            next.former.insert(0, FormerRecord { digest: before.active, since_ms: before.since_ms });
            next.former.truncate(FORMER_MAX);
        }
        let generation = next.generation;
        self.types.insert(aggregate_type.to_owned(), next);
        generation
    }
}
