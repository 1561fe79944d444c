//! What a record of a topic of commands asks. Anybody may write there, so anything may be in it; what cannot be read is
//! answered all the same.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use super::names::UNROUTED;
use super::record::Record;
use super::text;
use crate::canonical::{Canonical, join};
use crate::murmur;

/// Longest id of an aggregate and of a command, in bytes.
const AGGREGATE_ID_MAX: usize = 256;
const COMMAND_ID_MAX: usize = 128;

/// Where the aggregate of a command lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home<'a> {
    /// Here.
    Here(&'a str),
    /// In another partition.
    Elsewhere(&'a str),
    /// Nowhere: the key names no aggregate.
    Nowhere,
}

/// A command as its record asks for it.
#[derive(Debug)]
pub struct Command<'a> {
    /// Where its aggregate lives.
    pub home: Home<'a>,
    /// Its id; `None` if it brought none that counts.
    pub id: Option<&'a str>,
    /// The version it expects.
    pub expected: Option<u64>,
    /// The command as MessagePack; nothing if it cannot be read.
    pub body: Vec<u8>,
    /// Hash that two commands share if and only if they ask for the same.
    pub hash: u64,
    /// Why it cannot be decided, if that is certain.
    pub defect: Option<Cow<'static, str>>,
}

impl<'a> Command<'a> {
    /// Reads the record of a partition among `partitions`.
    pub fn read(record: &'a Record, partition: u32, partitions: u32) -> Self {
        let mut defect = None;
        let home = home(record.key(), partition, partitions);
        match home {
            Home::Here(_) => {}
            Home::Elsewhere(_) => defect = Some("its key belongs to another partition".into()),
            Home::Nowhere => defect = Some("its key names no aggregate".into()),
        }
        let mut id = None;
        for name in ["ce_commandid", "ce_id"] {
            match record.header(name) {
                Ok(Some(bytes)) => id = Some(bytes),
                Ok(None) => {}
                Err(what) => defect = Some(what.into()),
            }
        }
        let id = id.and_then(|bytes| {
            let readable = command_id(bytes);
            if readable.is_none() {
                defect = Some("its command id is not valid".into());
            }
            readable
        });
        let mut expected = None;
        if record.has("ce_expectedversion") {
            expected = record.header("ce_expectedversion").ok().flatten().and_then(text::number);
            if expected.is_none() {
                defect = Some("the version that it expects is no number".into());
            }
        }
        let (body, mut hash) = match body(record) {
            Ok((body, hash)) => (body, hash),
            Err(what) => {
                defect = what.or(defect);
                (Vec::new(), xxh3_64(record.value().unwrap_or_default()))
            }
        };
        if !matches!(home, Home::Here(_)) {
            // Commands without a place are answered under one name, whatever their keys are.
            hash = join(hash, xxh3_64(record.key().unwrap_or_default()));
        }
        Self { home, id, expected, body, hash, defect }
    }

    /// A command of which nothing is known.
    pub fn unknown() -> Self {
        Self { home: Home::Nowhere, id: None, expected: None, body: Vec::new(), hash: 0, defect: None }
    }

    /// Whether an answer names this command by the id it must have.
    pub fn is_named(&self, answered: &str, topic: &str, partition: u32, offset: u64) -> bool {
        match self.id {
            Some(id) => id == answered,
            None => {
                let derived = format!("{topic}-{partition}-{offset}");
                // A topic whose name makes the id too long is named by something shorter.
                let fits = topic.len() + 32 <= COMMAND_ID_MAX;
                answered == derived || (!fits && answered.ends_with(&format!("-{partition}-{offset}")))
            }
        }
    }
}

fn home(key: Option<&[u8]>, partition: u32, partitions: u32) -> Home<'_> {
    let Some(key) = key.and_then(|key| std::str::from_utf8(key).ok()) else { return Home::Nowhere };
    let fits = (1..=AGGREGATE_ID_MAX).contains(&key.len()) && !key.chars().any(char::is_control);
    if !fits || key.starts_with(UNROUTED) {
        Home::Nowhere
    } else if murmur::partition(key, partitions) == partition {
        Home::Here(key)
    } else {
        Home::Elsewhere(key)
    }
}

fn command_id(bytes: &[u8]) -> Option<&str> {
    let fits = (1..=COMMAND_ID_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    fits.then(|| std::str::from_utf8(bytes).ok()).flatten()
}

/// The body and its hash. `Err` if it cannot be had, with the reason where it is certain that nobody can read it.
fn body(record: &Record) -> Result<(Vec<u8>, u64), Option<Cow<'static, str>>> {
    let value = record.value().ok_or(Some("it has no value".into()))?;
    let content_type = record.header("content-type").map_err(|what| Some(what.into()))?;
    let form = text::form(content_type).ok_or(Some("its content type is unknown".into()))?;
    let read = text::messagepack(form, value).and_then(|body| Ok((Canonical::of_messagepack(&body)?.0, body)));
    match read {
        Ok((hash, body)) => Ok((body, hash)),
        // This reader has limits of its own, on depth and on numbers: others may read what it cannot.
        Err(_) if form == text::Form::Json && text::is_json(value) => Err(None),
        Err(_) => Err(Some("its value is not one value of its content type".into())),
    }
}
