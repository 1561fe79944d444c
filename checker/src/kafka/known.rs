//! Which command ids are known when a command is answered: those of the newest 1,024 answered commands of its aggregate,
//! and of those the ones at most 24 hours of log time older. It follows from the answers in the log alone.

use hashbrown::HashMap;

use crate::check::{Known, key};

/// Newest answered commands of an aggregate whose ids are known.
pub const IDS_MAX: u64 = 1024;
/// Milliseconds of log time for which an id is known.
pub const FOR_MS: i64 = 24 * 60 * 60 * 1000;

/// The ids of one partition.
#[derive(Debug, Default)]
pub struct KnownIds {
    /// Per aggregate, how many answers made their ids known.
    answered: HashMap<u128, u64>,
    ids: HashMap<u128, Remembered>,
}

#[derive(Debug)]
struct Remembered {
    /// Its number among the aggregate's answers, from 0.
    number: u64,
    hash: u64,
    time_ms: i64,
    decision: u32,
}

impl KnownIds {
    /// What is known of the id of a command with this hash, answered at this log time.
    pub fn look_up(&self, aggregate: &str, id: &str, hash: u64, time_ms: i64) -> Known {
        let answered = self.answered.get(&key([aggregate, "", ""])).copied().unwrap_or(0);
        match self.ids.get(&key([aggregate, id, ""])) {
            Some(known) if answered - known.number > IDS_MAX || time_ms - known.time_ms > FOR_MS => Known::New,
            Some(known) if known.hash == hash => Known::Same(known.decision),
            Some(known) => Known::Other(known.decision),
            None => Known::New,
        }
    }

    /// An answer makes its id known.
    pub fn remember(&mut self, aggregate: &str, id: &str, hash: u64, time_ms: i64, decision: u32) {
        let answered = self.answered.entry(key([aggregate, "", ""])).or_default();
        let remembered = Remembered { number: *answered, hash, time_ms, decision };
        *answered += 1;
        self.ids.insert(key([aggregate, id, ""]), remembered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_forgotten_after_1024_others_of_its_aggregate_or_a_day() {
        let mut known = KnownIds::default();
        known.remember("a", "first", 1, 0, 7);
        for other in 1..IDS_MAX {
            known.remember("a", &format!("c{other}"), 1, 0, 8);
            known.remember("b", &format!("c{other}"), 1, 0, 8);
        }
        assert_eq!(known.look_up("a", "first", 1, FOR_MS), Known::Same(7));
        assert_eq!(known.look_up("a", "first", 2, FOR_MS), Known::Other(7));
        assert_eq!(known.look_up("b", "first", 1, 0), Known::New);
        assert_eq!(known.look_up("a", "first", 1, FOR_MS + 1), Known::New);
        known.remember("a", "one more", 1, 0, 9);
        assert_eq!(known.look_up("a", "first", 1, 0), Known::New);
        assert_eq!(known.look_up("a", "c1", 1, 0), Known::Same(8));
    }
}
