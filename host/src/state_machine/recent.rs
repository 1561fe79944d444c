//! The command ids an aggregate remembers. How long is a function of the log alone: the newest
//! [`KNOWN_IDS_MAX`] answered commands of the aggregate, and of those the ones at most [`KNOWN_FOR_MS`] of log time older
//! than the command that asks.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::log::Lsn;
use crate::message::Command;

/// Newest answered commands of one aggregate whose ids are known.
pub const KNOWN_IDS_MAX: usize = 1024;
/// Milliseconds of log time for which an id is known: one day.
pub const KNOWN_FOR_MS: i64 = 24 * 60 * 60 * 1000;
/// Up to so many ids are searched one by one; above, a map is kept beside them.
const SEARCHED_MAX: usize = 48;

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
    /// Commands forgotten so far: the number of the first one in `commands`.
    first: u64,
    /// Number of each command by id, kept when there are too many to search.
    numbers: Option<Box<HashMap<[u64; 2], u64>>>,
}

fn id_hash(id: &str) -> [u64; 2] {
    let hash = xxhash_rust::xxh3::xxh3_128(id.as_bytes());
    [hash as u64, (hash >> 64) as u64]
}

impl Recent {
    /// From what the store kept, oldest first.
    pub fn from_settled(commands: impl IntoIterator<Item = Remembered>) -> Self {
        let mut recent = Self { commands: commands.into_iter().collect(), first: 0, numbers: None };
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
        match &self.numbers {
            Some(numbers) => numbers.get(&id).map(|number| &self.commands[(number - self.first) as usize]),
            None => self.commands.iter().rev().find(|known| known.id == id),
        }
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
        if let Some(numbers) = &mut self.numbers {
            numbers.insert(id, self.first + self.commands.len() as u64);
        }
        self.commands.push_back(Remembered { id, body_hash, time_ms, at });
        if self.numbers.is_none() && self.commands.len() > SEARCHED_MAX {
            self.index();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.commands.pop_front() else { return };
        if let Some(numbers) = &mut self.numbers
            && numbers.get(&oldest.id) == Some(&self.first)
        {
            numbers.remove(&oldest.id);
        }
        self.first += 1;
    }

    fn index(&mut self) {
        self.numbers = (self.commands.len() > SEARCHED_MAX).then(|| {
            let numbered = self.commands.iter().enumerate();
            Box::new(numbered.map(|(i, known)| (known.id, self.first + i as u64)).collect())
        });
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

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Remembered> {
        self.commands.iter()
    }
}
