//! The command ids an aggregate remembers. How long is a function of the log alone: the newest
//! [`KNOWN_IDS_MAX`] answered commands of the aggregate, and of those the ones at most [`KNOWN_FOR_MS`] of log time older
//! than the command that asks.

mod positions;

use std::collections::VecDeque;

use positions::Positions;

use crate::log::Lsn;
use crate::message::Command;

/// Newest answered commands of one aggregate whose ids are known.
pub const KNOWN_IDS_MAX: usize = 1024;
/// Milliseconds of log time for which an id is known: one day.
pub const KNOWN_FOR_MS: i64 = 24 * 60 * 60 * 1000;
/// Up to so many ids are searched one by one; above, an index is kept beside them.
const SEARCHED_MAX: usize = 8;

/// Where an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// In the committed block at this address.
    Settled(Lsn),
    /// In the staged block of this number.
    Staged(u64),
}

/// What is known of a command's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing: the command is new.
    No,
    /// The same command was answered there.
    Same(At),
    /// The id was used for another command.
    OtherBody,
}

/// One remembered command. The id is kept as its 128-bit hash: two ids of one aggregate never share one by accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Hash of the command id.
    pub id: [u64; 2],
    /// Hash of the command's body.
    pub body_hash: u64,
    /// The command's time in milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
    /// Address of the block, or number of a staged block with [`STAGED`] set.
    at: u64,
}

/// Marks `at` as the number of a staged block. Logs end below it.
const STAGED: u64 = 1 << 63;

impl Remembered {
    /// A settled one, as it comes from the store.
    pub fn settled(id: u128, body_hash: u64, time_ms: i64, at: Lsn) -> Self {
        Self { id: [id as u64, (id >> 64) as u64], body_hash, time_ms, at: at.0 }
    }

    /// The id's hash as one number.
    pub fn id(&self) -> u128 {
        u128::from(self.id[0]) | u128::from(self.id[1]) << 64
    }

    /// Where the answer is.
    pub fn at(&self) -> At {
        if self.at & STAGED == 0 { At::Settled(Lsn(self.at)) } else { At::Staged(self.at & !STAGED) }
    }
}

/// The remembered commands of one aggregate, oldest first.
#[derive(Debug, Default)]
pub struct Recent {
    commands: VecDeque<Remembered>,
    /// Commands forgotten so far, wrapping: the number of the first one in `commands`.
    first: u32,
    /// Where each id is, kept when there are too many to search.
    positions: Positions,
}

fn id_hash(id: &str) -> [u64; 2] {
    let hash = xxhash_rust::xxh3::xxh3_128(id.as_bytes());
    [hash as u64, (hash >> 64) as u64]
}

impl Recent {
    /// From what the store kept, oldest first.
    pub fn from_settled(commands: impl IntoIterator<Item = Remembered>) -> Self {
        let mut recent = Self { commands: commands.into_iter().collect(), ..Self::default() };
        recent.index();
        recent
    }

    /// What is known of a command's id.
    pub fn look_up(&self, command: &Command) -> Known {
        if self.commands.is_empty() {
            return Known::No;
        }
        match self.find(command.command_id.as_str()) {
            Some(known) if command.time_ms - known.time_ms > KNOWN_FOR_MS => Known::No,
            Some(known) if known.body_hash != command.body_hash => Known::OtherBody,
            Some(known) => Known::Same(known.at()),
            None => Known::No,
        }
    }

    /// The remembered command of an id, however old.
    pub fn find(&self, id: &str) -> Option<&Remembered> {
        let id = id_hash(id);
        if self.positions.is_empty() {
            return self.commands.iter().rev().find(|known| known.id == id);
        }
        self.positions.find(id[0], |number| self.is_at(id, number)).map(|number| &self.commands[self.place(number)])
    }

    /// Place of the command with this number among those remembered.
    fn place(&self, number: u32) -> usize {
        (number.wrapping_sub(self.first) & positions::NUMBERS_MASK) as usize
    }

    fn is_at(&self, id: [u64; 2], number: u32) -> bool {
        self.commands.get(self.place(number)).is_some_and(|known| known.id == id)
    }

    /// Remembers a command and forgets the oldest if there are too many. A newer one replaces one of the same id.
    pub fn remember(&mut self, id: &str, body_hash: u64, time_ms: i64, at: At) {
        let at = match at {
            At::Settled(lsn) => lsn.0,
            At::Staged(block) => block | STAGED,
        };
        let id = id_hash(id);
        if self.commands.len() == KNOWN_IDS_MAX {
            self.forget_oldest();
        }
        let number = self.first.wrapping_add(self.commands.len() as u32);
        self.commands.push_back(Remembered { id, body_hash, time_ms, at });
        if !self.positions.has_room(self.commands.len()) {
            self.index();
        } else if !self.positions.is_empty() {
            // Only what stood there before is in the index.
            let older = self.positions.find(id[0], |other| self.is_at(id, other));
            self.positions.put(id[0], number, older);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.commands.pop_front() {
            self.positions.remove(oldest.id[0], self.first);
            self.first = self.first.wrapping_add(1);
        }
    }

    fn index(&mut self) {
        if self.commands.len() <= SEARCHED_MAX {
            return;
        }
        self.positions = Positions::for_count(self.commands.len());
        for (place, known) in self.commands.iter().enumerate() {
            let number = self.first.wrapping_add(place as u32);
            let older = self.positions.find(known.id[0], |other| self.is_at(known.id, other));
            self.positions.put(known.id[0], number, older);
        }
    }

    /// The staged block of this number is at `lsn` now.
    pub fn settle(&mut self, block: u64, lsn: Lsn) {
        for known in self.commands.iter_mut().rev() {
            if known.at & STAGED == 0 {
                break;
            }
            if known.at == block | STAGED {
                known.at = lsn.0;
            }
        }
    }

    /// Reads a little of what [`Self::look_up`] and [`Self::remember`] of this id will read.
    pub fn touch(&self, id: &str) -> u64 {
        let Some(oldest) = self.commands.front() else { return 0 };
        let newest = self.commands.back().map_or(0, |newest| newest.at);
        if self.positions.is_empty() {
            return newest;
        }
        let forgotten = if self.commands.len() == KNOWN_IDS_MAX { self.positions.touch(oldest.id[0]) } else { 0 };
        newest ^ u64::from(forgotten ^ self.positions.touch(id_hash(id)[0]))
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Remembered> {
        self.commands.iter()
    }
}
