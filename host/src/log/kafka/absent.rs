//! A partition says that it has nothing at an offset where something was: either records are gone (R4, R5), or whoever says
//! so was cut off from the controller, believes that it leads, and lacks what was written since. The second passes.
//!
//! Why waiting hides nothing: records written meanwhile are never taken for those that are gone. Answers have dense numbers
//! (R4), and a feed reads the last command that it knows once more, which must be what it was (R5).

use std::collections::BTreeMap;
use std::time::Duration;

use super::ffi::KafkaError;
use super::ffi::consumer::{Assigned, Consumer};
use super::topics::context::pause;
use crate::clock::Stopwatch;

/// Time for brokers to notice one that is cut off (their session is 9 s), and for clients to hear who leads since.
const LAGGING: Duration = Duration::from_secs(20);
/// Time to say where a partition begins and ends.
const ANSWER: Duration = Duration::from_secs(5);
/// Rest before it is asked again.
const REST: Duration = Duration::from_millis(300);

/// Partitions that had nothing where something must be, by their place in an assignment, and since when.
#[derive(Debug, Default)]
pub struct Absent(BTreeMap<usize, Stopwatch>);

impl Absent {
    /// What to make of an error of a partition which is read at `offset`; waits a little. After `Ok` a new consumer is to
    /// ask again, which may meet another broker.
    ///
    /// # Errors
    /// What is wrong, in words, if the error is another one, if the records are certainly gone, or if nobody had them for
    /// too long.
    pub fn judge(
        &mut self,
        consumer: &Consumer,
        (place, offset): (usize, i64),
        error: &KafkaError,
    ) -> Result<(), String> {
        if !error.is_out_of_range() {
            return Err(error.to_string());
        }
        let since = self.0.entry(place).or_insert_with(Stopwatch::start);
        let named =
            consumer.assigned(place).map(|Assigned { topic, partition, .. }| format!("{topic} partition {partition}"));
        let named = named.unwrap_or_default();
        let ends = match consumer.watermarks(place, ANSWER) {
            // One that is cut off never lacks the beginning.
            Ok((first, _)) if first > offset => {
                return Err(format!("{named} begins at offset {first} by now, and that of {offset} comes next"));
            }
            Ok((_, end)) => format!("it ends at {end}"),
            Err(error) => format!("where it ends is not known: {error}"),
        };
        if since.elapsed() > LAGGING {
            return Err(format!("{named} has nothing at offset {offset}, which comes next ({ends}): {error}"));
        }
        tracing::warn!(
            "{named} has nothing at offset {offset} yet ({ends}); its leader may be cut off, it is asked again"
        );
        pause(REST);
        Ok(())
    }

    /// A partition has what comes next.
    pub fn found(&mut self, place: usize) {
        if !self.0.is_empty() {
            self.0.remove(&place);
        }
    }
}
