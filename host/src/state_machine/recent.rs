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
/// Up to so many ids are searched one by one, in four cache lines; above, an index is kept beside them.
const SEARCHED_MAX: usize = 32;

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

/// What is kept of a remembered command beside the low half of its id's hash.
#[derive(Debug)]
struct Kept {
    id_high: u64,
    body_hash: u64,
    time_ms: i64,
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

/// The remembered commands of one aggregate, oldest first. There are many of them in memory, so they grow by small steps.
#[derive(Debug, Default)]
pub struct Recent {
    /// The low halves of the ids' hashes, apart from the rest: what is searched lies together.
    ids: VecDeque<u64>,
    /// The rest, in the same places.
    commands: VecDeque<Kept>,
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
    pub fn from_settled(commands: impl ExactSizeIterator<Item = Remembered>) -> Self {
        let mut recent = Self::default();
        recent.reserve(commands.len());
        commands.for_each(|known| recent.push(known));
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
    pub fn find(&self, id: &str) -> Option<Remembered> {
        let id = id_hash(id);
        let place = if self.positions.is_empty() {
            let is_it = |&(place, low): &(usize, &u64)| *low == id[0] && self.commands[place].id_high == id[1];
            self.ids.iter().enumerate().rev().find(is_it).map(|(place, _)| place)
        } else {
            self.positions.find(id[0], |number| self.is_at(id, number)).map(|number| self.place(number))
        };
        place.map(|place| self.at(place))
    }

    fn at(&self, place: usize) -> Remembered {
        let &Kept { id_high, body_hash, time_ms, at } = &self.commands[place];
        Remembered { id: [self.ids[place], id_high], body_hash, time_ms, at }
    }

    fn reserve(&mut self, more: usize) {
        self.ids.reserve_exact(more);
        self.commands.reserve_exact(more);
    }

    fn push(&mut self, known: Remembered) {
        if self.commands.len() == self.commands.capacity() {
            self.reserve((self.commands.len() / 4).max(2));
        }
        let Remembered { id: [low, id_high], body_hash, time_ms, at } = known;
        self.ids.push_back(low);
        self.commands.push_back(Kept { id_high, body_hash, time_ms, at });
    }

    /// Place of the command with this number among those remembered.
    fn place(&self, number: u32) -> usize {
        (number.wrapping_sub(self.first) & positions::NUMBERS_MASK) as usize
    }

    fn is_at(&self, id: [u64; 2], number: u32) -> bool {
        let place = self.place(number);
        self.ids.get(place) == Some(&id[0]) && self.commands[place].id_high == id[1]
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
        self.push(Remembered { id, body_hash, time_ms, at });
        if !self.positions.has_room(self.commands.len()) {
            self.index();
        } else if !self.positions.is_empty() {
            // Only what stood there before is in the index.
            let older = self.positions.find(id[0], |other| self.is_at(id, other));
            self.positions.put(id[0], number, older);
        }
    }

    fn forget_oldest(&mut self) {
        if let (Some(oldest), Some(_)) = (self.ids.pop_front(), self.commands.pop_front()) {
            self.positions.remove(oldest, self.first);
            self.first = self.first.wrapping_add(1);
        }
    }

    fn index(&mut self) {
        if self.commands.len() <= SEARCHED_MAX {
            return;
        }
        self.positions = Positions::for_count(self.ids.len());
        for (place, low) in self.ids.iter().enumerate() {
            let number = self.first.wrapping_add(place as u32);
            let id = [*low, self.commands[place].id_high];
            let older = self.positions.find(*low, |other| self.is_at(id, other));
            self.positions.put(*low, number, older);
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
        let (Some(oldest), Some(newest)) = (self.ids.front(), self.commands.back()) else { return 0 };
        if self.positions.is_empty() {
            return newest.at ^ oldest;
        }
        let forgotten = if self.ids.len() == KNOWN_IDS_MAX { self.positions.touch(*oldest) } else { 0 };
        newest.at ^ u64::from(forgotten ^ self.positions.touch(id_hash(id)[0]))
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Remembered> {
        (0..self.commands.len()).map(|place| self.at(place))
    }
}
