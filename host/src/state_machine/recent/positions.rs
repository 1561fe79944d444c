//! Where the remembered commands are, by id: open addressing with linear probing, one word for each. An aggregate with
//! all the ids it may remember needs 8 KiB, and looking for an id that is not there touches one cache line: nearly every
//! command is new.
//!
//! A word holds the low bits of the id's hash and the low bits of the command's number. What it leaves open (another id
//! with the same bits) the caller decides by looking at the command itself.

/// Bits of a number that are kept. More commands than [`super::KNOWN_IDS_MAX`] are never remembered at once.
const NUMBER_BITS: u32 = 12;
/// Masks the bits of a number that are kept.
pub const NUMBERS_MASK: u32 = (1 << NUMBER_BITS) - 1;
/// Marks a word in use.
const USED: u32 = 1 << 31;
/// Masks the bits of the hash that are kept.
const HASH_MASK: u32 = !USED & !NUMBERS_MASK;
/// Words at least.
const WORDS_MIN: usize = 32;

const _: () = assert!(super::KNOWN_IDS_MAX < 1 << NUMBER_BITS && 2 * super::KNOWN_IDS_MAX <= 1 << (31 - NUMBER_BITS));

/// The index; empty until it is needed.
#[derive(Debug, Default)]
pub struct Positions(Box<[u32]>);

impl Positions {
    /// One with room for `count` commands and as many again.
    pub fn for_count(count: usize) -> Self {
        let room = (2 * count).clamp(1, super::KNOWN_IDS_MAX);
        let words = (2 * room).next_power_of_two().max(WORDS_MIN);
        Self(vec![0; words].into())
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `count` commands fit with at most half of the words in use, or are few enough to need none.
    pub fn has_room(&self, count: usize) -> bool {
        if self.is_empty() { count <= super::SEARCHED_MAX } else { 2 * count <= self.0.len() }
    }

    /// Where the search for an id begins, and the bits of its hash.
    fn home(&self, hash: u64) -> (usize, u32) {
        let bits = (hash as u32) << NUMBER_BITS & HASH_MASK;
        (self.home_of(bits), bits)
    }

    /// Reads the word at which a search begins.
    pub fn touch(&self, hash: u64) -> u32 {
        self.0[self.home(hash).0]
    }

    fn home_of(&self, word: u32) -> usize {
        ((word & HASH_MASK) >> NUMBER_BITS) as usize & (self.0.len() - 1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.0.len() - 1)
    }

    /// The number kept for an id with this hash that `is_it` agrees to.
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (mut at, bits) = self.home(hash);
        while self.0[at] != 0 {
            let number = self.0[at] & NUMBERS_MASK;
            if self.0[at] & HASH_MASK == bits && is_it(number) {
                return Some(number);
            }
            at = self.after(at);
        }
        None
    }

    /// Keeps a number for an id, in the place of `older` if that is given.
    pub fn put(&mut self, hash: u64, number: u32, older: Option<u32>) {
        let (mut at, bits) = self.home(hash);
        let replaced = older.map(|older| USED | bits | older & NUMBERS_MASK);
        while self.0[at] != 0 && Some(self.0[at]) != replaced {
            at = self.after(at);
        }
        self.0[at] = USED | bits | number & NUMBERS_MASK;
    }

    /// Forgets an id if it is kept under this number.
    pub fn remove(&mut self, hash: u64, number: u32) {
        if self.is_empty() {
            return;
        }
        let (mut at, bits) = self.home(hash);
        let word = USED | bits | number & NUMBERS_MASK;
        while self.0[at] != word {
            if self.0[at] == 0 {
                return;
            }
            at = self.after(at);
        }
        self.close_gap(at);
    }

    /// Moves what stands behind a word that is freed forward, so that no search ends too early (Knuth, volume 3, 6.4,
    /// algorithm R).
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.0.len() - 1;
        let mut at = gap;
        loop {
            at = self.after(at);
            let word = self.0[at];
            if word == 0 {
                break;
            }
            let distance = at.wrapping_sub(self.home_of(word)) & mask;
            if distance >= at.wrapping_sub(gap) & mask {
                self.0[gap] = word;
                gap = at;
            }
        }
        self.0[gap] = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use proptest::prelude::*;

    use super::*;
    use crate::log::Lsn;
    use crate::state_machine::recent::{At, KNOWN_IDS_MAX, Recent};

    /// What the index does, done slowly.
    #[derive(Default)]
    struct Model(VecDeque<(String, u64)>);

    impl Model {
        fn remember(&mut self, id: &str, at: u64) {
            if self.0.len() == KNOWN_IDS_MAX {
                self.0.pop_front();
            }
            self.0.push_back((id.to_owned(), at));
        }

        fn find(&self, id: &str) -> Option<u64> {
            self.0.iter().rev().find(|(known, _)| known == id).map(|(_, at)| *at)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn what_was_remembered_is_found(ids in prop::collection::vec(0_u32..4_000, 1..6_000)) {
            let (mut recent, mut model) = (Recent::default(), Model::default());
            for (n, id) in ids.iter().enumerate() {
                let id = id.to_string();
                recent.remember(&id, 0, 0, At::Settled(Lsn(n as u64)));
                model.remember(&id, n as u64);
                let probe = ids[n / 2].to_string();
                prop_assert_eq!(recent.find(&probe).map(|known| known.at), model.find(&probe));
            }
            for id in 0..4_000 {
                let id = id.to_string();
                prop_assert_eq!(recent.find(&id).map(|known| known.at), model.find(&id), "{}", id);
            }
        }

        /// Hashes that share their place: the gap must be closed around the end of the words too.
        #[test]
        fn crowded_places_lose_nothing(steps in prop::collection::vec((0_u64..6, any::<bool>()), 1..300)) {
            let mut positions = Positions::for_count(4);
            let last = positions.0.len() as u64 - 1;
            let mut model: HashMap<u32, u64> = HashMap::new();
            for (number, (near, remove)) in (0..).zip(steps) {
                let hash = last - near % 3 + (near / 3) * 64;
                if remove || model.len() >= 12 {
                    if let Some(oldest) = model.keys().min().copied() {
                        positions.remove(model[&oldest], oldest);
                        model.remove(&oldest);
                    }
                } else {
                    positions.put(hash, number, None);
                    model.insert(number, hash);
                }
                for (number, hash) in &model {
                    prop_assert_eq!(positions.find(*hash, |one| one == *number), Some(*number));
                }
                prop_assert_eq!(positions.0.iter().filter(|word| **word != 0).count(), model.len());
            }
        }
    }
}
