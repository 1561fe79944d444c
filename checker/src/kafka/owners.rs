//! Who owned a lane, in which order: the `ordain.owner` records of the topic of lanes. The offset of such a record is the
//! term of its owner, and every answer names the term under which it was written.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use serde::Deserialize;

use super::names::OWNER;
use super::record::Record;
use super::{Layout, Source, Topic, listed, whole};
use crate::check::{Cause, Judge};
use crate::report::Kind;

/// The value of an owner's record, as far as it is looked at.
#[derive(Debug, Deserialize)]
pub struct Taking {
    /// The lane that was taken.
    pub lane: u32,
    /// Tells this taking from every other.
    pub nonce: String,
}

/// Whether a record is an owner's.
pub fn is_owner(record: &Record) -> bool {
    record.headers().any(|(name, value)| name == b"ce_type" && value == Some(OWNER.as_bytes()))
}

impl Taking {
    /// Reads an owner's record.
    ///
    /// # Errors
    /// If its value is not what such a record holds.
    pub fn read(record: &Record) -> Result<Self, String> {
        let value = record.value().ok_or("an owner's record without a value")?;
        serde_json::from_slice(value).map_err(|e| format!("an owner's record cannot be read: {e}"))
    }
}

#[derive(Debug, Deserialize)]
struct LayoutRecord {
    #[serde(default)]
    generation: u64,
    partitions: u32,
    lanes: u32,
}

/// All that took lanes.
#[derive(Debug, Default)]
pub struct Owners {
    /// Per nonce, the lane whose partition holds it, and its offset there.
    takings: HashMap<String, (u32, u64)>,
    terms: BTreeSet<(u32, u64)>,
    lanes: u32,
    /// The number of lanes was changed once: which lane an old answer came from cannot be told by its partition.
    laid_out_anew: bool,
}

impl Owners {
    /// Reads the topic of lanes.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(source: &mut dyn Source, layout: &Layout, partitions: u32, judge: &mut Judge) -> anyhow::Result<Self> {
        let mut owners = Self { lanes: layout.lanes, ..Self::default() };
        let mut generations = BTreeSet::new();
        for lane in 0..layout.lanes {
            let part = whole(source, Topic::Lanes, lane, layout.lanes, judge)?;
            let mut latest = None;
            for record in &part.records {
                let what = if is_owner(record) {
                    owners.taken(lane, record)
                } else if record.key() == Some(b"layout") {
                    laid_out(record).map(|read| {
                        generations.insert(read.generation);
                        latest = Some(read);
                    })
                } else {
                    continue;
                };
                if let Err(what) = what {
                    let message = format!("record {} of lane {lane}: {what}", record.offset);
                    judge.found(Kind::RecordMalformed, message, Cause::default());
                }
            }
            if let Some(read) = latest.filter(|read| (read.partitions, read.lanes) != (partitions, layout.lanes)) {
                let message = format!(
                    "the layout in lane {lane} says {} partitions and {} lanes, the topics have {partitions} and {}",
                    read.partitions, read.lanes, layout.lanes
                );
                judge.found(Kind::LayoutDiffers, message, Cause::default());
            }
        }
        owners.laid_out_anew = generations.len() > 1;
        Ok(owners)
    }

    fn taken(&mut self, lane: u32, record: &Record) -> Result<(), String> {
        let taking = Taking::read(record)?;
        if taking.lane != lane {
            return Err(format!("an owner takes lane {} here", taking.lane));
        }
        if self.takings.insert(taking.nonce.clone(), (lane, record.offset)).is_some() {
            return Err(format!("two takings have the nonce {}", taking.nonce));
        }
        self.terms.insert((lane, record.offset));
        Ok(())
    }

    /// The term that a record of taking began in a partition.
    ///
    /// # Errors
    /// If no lane holds such a record, or it is another lane's.
    pub fn term(&self, taking: &Taking, partition: u32) -> Result<u64, String> {
        let (lane, term) = *self.takings.get(&taking.nonce).ok_or_else(|| {
            format!("lane {} was taken with nonce {}, of which its topic holds nothing", taking.lane, taking.nonce)
        })?;
        if lane != taking.lane || !self.may_own(lane, partition) {
            return Err(format!("lane {lane} took partition {partition}, which does not belong to it"));
        }
        Ok(term)
    }

    fn may_own(&self, lane: u32, partition: u32) -> bool {
        self.laid_out_anew || partition.checked_rem(self.lanes) == Some(lane)
    }

    /// What is wrong with an answer in a partition that names a term.
    pub fn unknown(&self, term: u64, partition: u32) -> Option<String> {
        let known = (0..self.lanes).any(|lane| self.may_own(lane, partition) && self.terms.contains(&(lane, term)));
        (!known).then(|| {
            let of_lane = |&&(lane, _): &&(u32, u64)| self.may_own(lane, partition);
            let terms: BTreeSet<u64> = self.terms.iter().filter(of_lane).map(|&(_, term)| term).collect();
            format!("nobody took the lane of partition {partition} at {term}; it was taken at {}", listed(&terms))
        })
    }
}

fn laid_out(record: &Record) -> Result<LayoutRecord, String> {
    let value = record.value().ok_or("a layout without a value")?;
    serde_json::from_slice(value).map_err(|e| format!("the layout cannot be read: {e}"))
}
