//! The pause between a commit and the next transaction. Brokers answer a commit before they have written its markers; a
//! transaction that touches the network before that waits 20 ms (hard-coded in librdkafka). How long markers take differs
//! between clusters, so the pause follows what is seen: doubled after such a wait, and shortened a little after each
//! transaction without one. Waits that no pause prevents are put up with, up to a share: a broker that stops for a moment
//! to collect garbage makes one whatever the pause, and a pause is paid for by every transaction.

use std::time::Duration;

use crate::clock::Stopwatch;

/// The pause to begin with: on one broker markers took less (measured, see docs/kafka.md).
const FIRST: Duration = Duration::from_millis(2);
/// Shortest pause.
const LEAST: Duration = Duration::from_millis(1);
/// Longest pause: half of the wait that it is to save.
const MOST: Duration = Duration::from_millis(10);
/// A pause is shortened by this part of it: where more than about one transaction in 45 waits, pauses become longer.
const PART: u32 = 64;
/// The wait of librdkafka.
const WAIT: Duration = Duration::from_millis(20);

/// When the last transaction ended, and how long to wait after it.
#[derive(Debug)]
pub struct Pause {
    length: Duration,
    since: Stopwatch,
}

impl Pause {
    /// After the transaction that took the lane, which just ended.
    pub fn new() -> Self {
        Self { length: FIRST, since: Stopwatch::start() }
    }

    /// What is left of the pause.
    pub fn rest(&self) -> Option<Duration> {
        self.length.checked_sub(self.since.elapsed())
    }

    /// A transaction ended that took `took` and asked `requests` times for partitions to be added to it.
    pub fn ended(&mut self, took: Duration, requests: u64) {
        // One more request than needed, and enough time for the wait between both.
        if requests > 1 && took >= WAIT {
            self.length = (2 * self.length).min(MOST);
        } else {
            self.length = (self.length - self.length / PART).max(LEAST);
        }
        self.since = Stopwatch::start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_is_seen() {
        let mut pause = Pause::new();
        for _ in 0..5 {
            pause.ended(Duration::from_millis(25), 2);
        }
        assert_eq!(pause.length, MOST, "waits make it longer, up to a bound");
        pause.ended(Duration::from_millis(25), 1);
        assert!(pause.length < MOST, "a slow transaction that did not ask again did not wait");
        pause.ended(Duration::from_millis(3), 2);
        for _ in 0..10_000 {
            pause.ended(Duration::from_millis(3), 1);
        }
        assert_eq!(pause.length, LEAST, "without waits it becomes shorter, down to a bound");
        assert!(pause.rest().is_some_and(|rest| rest <= LEAST));
    }

    /// What it settles at, in milliseconds, where one transaction in `one_in` waits.
    fn settles_at(one_in: u32) -> f64 {
        let mut pause = Pause::new();
        let mut lengths = Vec::new();
        for number in 0..10_000 {
            let (took, requests) = if number % one_in == 0 { (25, 2) } else { (3, 1) };
            pause.ended(Duration::from_millis(took), requests);
            lengths.push(pause.length.as_secs_f64() * 1e3);
        }
        lengths[5_000..].iter().sum::<f64>() / 5_000.0
    }

    #[test]
    fn rare_waits_are_put_up_with_and_frequent_ones_are_not() {
        assert!(settles_at(100) < 1.5, "a wait now and then, as a broker's collections make it: {}", settles_at(100));
        assert!(settles_at(20) > 8.0, "more of them than the pause costs: {}", settles_at(20));
    }
}
