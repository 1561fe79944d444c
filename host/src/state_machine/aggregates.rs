//! The aggregates a lane has in memory: a slab with a hash index, and a clock hand for what to evict.
//!
//! They are a cache: store and log can bring every one of them back.

use hashbrown::HashTable;

use super::recent::Recent;
use crate::log::Lsn;
use crate::log::segment::format::aggregate_key;
use crate::message::{AggregateId, AggregateType};

/// Place of an aggregate in memory, and its slot in deciders. Stable while it is in memory.
pub type Index = u32;

/// One aggregate.
#[derive(Debug)]
pub struct Aggregate {
    /// Its type.
    pub aggregate_type: AggregateType,
    /// Its id.
    pub aggregate_id: AggregateId,
    /// Events applied, staged ones included.
    pub version: u64,
    /// Events applied and committed.
    pub settled_version: u64,
    /// Block of its last committed answer.
    pub last: Lsn,
    /// Blocks up to here were in what it was loaded from.
    pub loaded_to: Lsn,
    /// Its known command ids.
    pub recent: Recent,
    /// One more than the number of the newest staged block that holds an answer of it; 0 = none.
    pub staged_in: u64,
    /// Serial number of the decider instance its state is resident in; 0 = none.
    pub home: u32,
    /// Committed events, as frames, that the resident state (or, without one, the stored state) has not folded yet.
    pub unfolded: Option<Box<Vec<u8>>>,
    /// Version before the first of `unfolded`.
    pub unfolded_from: u64,
    /// Changed since the store last got it.
    pub dirty: bool,
    /// Used since the clock hand passed.
    pub used: bool,
    /// Its committed events cannot be folded by the active module: why. Cleared when the module changes.
    pub quarantined: Option<Box<str>>,
}

impl Aggregate {
    /// One that never existed.
    pub fn unborn(aggregate_type: AggregateType, aggregate_id: AggregateId) -> Self {
        Self {
            aggregate_type,
            aggregate_id,
            version: 0,
            settled_version: 0,
            last: Lsn(0),
            loaded_to: Lsn(0),
            recent: Recent::default(),
            staged_in: 0,
            home: 0,
            unfolded: None,
            unfolded_from: 0,
            dirty: false,
            used: true,
            quarantined: None,
        }
    }

    fn key(&self) -> u64 {
        aggregate_key(self.aggregate_type.as_str(), self.aggregate_id.as_str())
    }
}

/// The aggregates in memory.
#[derive(Debug, Default)]
pub struct Aggregates {
    slab: Vec<Option<Aggregate>>,
    free: Vec<Index>,
    /// The key is kept beside the index, so that growing looks at no aggregate.
    by_key: HashTable<(u64, Index)>,
    hand: usize,
}

/// Below so many, all of them are in the processor's caches anyway.
const WARMED_FROM: usize = 64;

impl Aggregates {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slab.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Places in the slab, empty ones included.
    pub fn places(&self) -> u32 {
        self.slab.len() as u32
    }

    /// Finds one in memory.
    pub fn find(&self, aggregate_type: &str, aggregate_id: &str) -> Option<Index> {
        let key = aggregate_key(aggregate_type, aggregate_id);
        let is_it = |&(of, at): &(u64, Index)| {
            of == key
                && self.slab[at as usize].as_ref().is_some_and(|one| {
                    one.aggregate_id.as_str() == aggregate_id && one.aggregate_type.as_str() == aggregate_type
                })
        };
        self.by_key.find(key, is_it).map(|&(_, at)| at)
    }

    /// Looks at what these commands will need (each given as type, aggregate id and command id), so that it is in the
    /// processor's caches by then. Among many aggregates each command waits for memory half a dozen times, each time for an
    /// address that the last one told; here the waits of different commands overlap.
    pub fn warm<'a>(&self, commands: impl Iterator<Item = (&'a str, &'a str, &'a str)>) {
        if self.len() < WARMED_FROM {
            return;
        }
        let found: Vec<(Index, &str)> = commands
            .filter_map(|(of, id, command)| {
                let key = aggregate_key(of, id);
                self.by_key.find(key, |&(of, _)| of == key).map(|&(_, at)| (at, command))
            })
            .collect();
        let all = || found.iter().filter_map(|&(at, command)| Some((self.try_get(at)?, command)));
        let mut sum = 0;
        for (one, _) in all() {
            sum ^= one.version ^ u64::from(one.home) ^ u64::from(one.used);
        }
        for (one, command) in all() {
            sum ^= one.recent.touch(command) ^ u64::from(one.aggregate_id.as_str().as_bytes()[0]);
        }
        std::hint::black_box(sum);
    }

    /// Takes one in. It must not be in memory yet.
    pub fn insert(&mut self, aggregate: Aggregate) -> Index {
        let key = aggregate.key();
        let at = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            self.slab.len() as Index - 1
        });
        self.slab[at as usize] = Some(aggregate);
        self.by_key.insert_unique(key, (key, at), |&(key, _)| key);
        at
    }

    /// Removes one.
    pub fn remove(&mut self, at: Index) -> Option<Aggregate> {
        let aggregate = self.slab.get_mut(at as usize)?.take()?;
        if let Ok(found) = self.by_key.find_entry(aggregate.key(), |&(_, other)| other == at) {
            found.remove();
        }
        self.free.push(at);
        Some(aggregate)
    }

    /// The one at an index.
    ///
    /// # Panics
    /// If there is none: the caller's bookkeeping is wrong.
    pub fn get(&self, at: Index) -> &Aggregate {
        self.slab[at as usize].as_ref().expect("an index names an aggregate in memory")
    }

    /// The one at an index, if there is one.
    pub fn try_get(&self, at: Index) -> Option<&Aggregate> {
        self.slab.get(at as usize)?.as_ref()
    }

    /// The one at an index, to change.
    ///
    /// # Panics
    /// If there is none: the caller's bookkeeping is wrong.
    pub fn get_mut(&mut self, at: Index) -> &mut Aggregate {
        self.slab[at as usize].as_mut().expect("an index names an aggregate in memory")
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Index, &Aggregate)> {
        self.slab.iter().enumerate().filter_map(|(at, one)| Some((at as Index, one.as_ref()?)))
    }

    /// All of them, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Index, &mut Aggregate)> {
        self.slab.iter_mut().enumerate().filter_map(|(at, one)| Some((at as Index, one.as_mut()?)))
    }

    /// Moves the clock hand over at most `steps` places, which it counts down, and returns one that was not used since it
    /// last came by and has nothing staged (the second-chance algorithm).
    pub fn victim(&mut self, steps: &mut usize) -> Option<Index> {
        while *steps > 0 && !self.slab.is_empty() {
            *steps -= 1;
            self.hand = (self.hand + 1) % self.slab.len();
            if let Some(one) = &mut self.slab[self.hand] {
                if !one.used && !one.is_staged() {
                    return Some(self.hand as Index);
                }
                one.used = false;
            }
        }
        None
    }
}
