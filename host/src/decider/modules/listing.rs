//! What people see of the registry.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use super::Active;
use super::record::Record;
use crate::decider::refused::Rule;
use crate::message::Digest;

/// Refusals remembered.
const REFUSED_MAX: usize = 64;

/// Every type's modules, for people and for `GET /v1/modules`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Listing {
    /// Types in order of their names.
    pub types: Vec<TypeListing>,
    /// Files and uploads that were refused and belong to no known type, newest first.
    pub refused: Vec<RefusedListing>,
}

/// The modules of one type.
#[derive(Debug, Clone, Serialize)]
pub struct TypeListing {
    /// The aggregate type.
    #[serde(rename = "type")]
    pub aggregate_type: String,
    /// Digest of the active module.
    pub active: Digest,
    /// Since when it is active, in milliseconds since 1970-01-01 UTC.
    pub since_ms: i64,
    /// File name or `upload`.
    pub origin: String,
    /// The state version it declares.
    pub state_version: u32,
    /// Version of the SDK it was built with.
    pub sdk: String,
    /// What is allowed and still smells.
    pub warnings: Vec<String>,
    /// Lanes that decide by it now.
    pub lanes: Vec<u32>,
    /// Digests that were active before, newest first.
    pub former: Vec<Digest>,
    /// Files of the modules folder that hold a module of this type, by name.
    pub files: Vec<FileListing>,
    /// What was refused for this type, newest first.
    pub refused: Vec<RefusedListing>,
}

/// A file of the modules folder.
#[derive(Debug, Clone, Serialize)]
pub struct FileListing {
    /// Its name.
    pub file: String,
    /// Digest of its bytes.
    pub digest: Digest,
}

/// A module that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedListing {
    /// Digest of the bytes, if they could be read.
    pub digest: Option<Digest>,
    /// File name or `upload`.
    pub origin: String,
    /// The rule it broke.
    pub rule: Rule,
    /// Why, and what to do.
    pub reason: String,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
}

/// The latest refusals, newest first, with the type as far as it was known. One per file: the last.
#[derive(Debug, Default)]
pub struct RefusedOnes(VecDeque<(Option<String>, bool, RefusedListing)>);

impl RefusedOnes {
    /// Remembers a refusal; one of a file replaces the file's former one, and one of the same bytes from elsewhere theirs:
    /// who sends the same again and again must not push out the others.
    pub fn add(&mut self, aggregate_type: Option<String>, is_file: bool, refused: RefusedListing) {
        if is_file {
            self.forget_file(&refused.origin);
        } else {
            let same = |one: &RefusedListing| (&one.origin, one.digest) == (&refused.origin, refused.digest);
            self.0.retain(|(_, is_file, one)| *is_file || !same(one));
        }
        self.0.push_front((aggregate_type, is_file, refused));
        self.0.truncate(REFUSED_MAX);
    }

    /// A file is gone, or holds something good now.
    pub fn forget_file(&mut self, name: &str) {
        self.0.retain(|(_, is_file, one)| !is_file || one.origin != name);
    }

    fn of(&self, wanted: impl Fn(Option<&str>) -> bool) -> Vec<RefusedListing> {
        self.0.iter().filter(|(of, ..)| wanted(of.as_deref())).map(|(_, _, one)| one.clone()).collect()
    }
}

/// Puts the listing together.
pub fn list(record: &Record, refused: &RefusedOnes, active: &HashMap<String, Arc<Active>>) -> Listing {
    let types = record.types.iter().filter_map(|(name, one)| {
        let module = &active.get(name)?.module;
        let files = record.files.iter().filter(|(_, file)| file.aggregate_type.as_ref() == Some(name));
        Some(TypeListing {
            aggregate_type: name.clone(),
            active: one.active,
            since_ms: one.since_ms,
            origin: one.origin.clone(),
            state_version: module.manifest().state_version,
            sdk: crate::decider::text::one_line(module.manifest().sdk.as_bytes(), 64),
            warnings: module.warnings().to_vec(),
            lanes: Vec::new(),
            former: one.former.iter().map(|former| former.digest).collect(),
            files: files.map(|(file, about)| FileListing { file: file.clone(), digest: about.digest }).collect(),
            refused: refused.of(|of| of == Some(name)),
        })
    });
    Listing { types: types.collect(), refused: refused.of(|of| of.is_none_or(|of| !record.types.contains_key(of))) }
}
