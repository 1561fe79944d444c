//! The command ids of the lines in flight: a line that gets no outcome is asked for again under its id, which the host may
//! have made.
//!
//! They are kept by batch, in one text: nearly every line gets an outcome, which has the id, and should not pay for these.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::message::CommandId;

/// Those of one stream. Bounded by its window: a batch goes when its last line is answered.
#[derive(Debug, Default)]
pub struct Ids(Mutex<VecDeque<Batch>>);

/// Lines that were handed over together.
#[derive(Debug)]
struct Batch {
    last: u64,
    /// Lines that are not answered yet, refused ones included.
    open: usize,
    /// Where each command's id ends in the text, by its line.
    ends: Vec<(u64, usize)>,
    text: String,
}

impl Ids {
    /// Keeps those of a batch, whose lines follow those of the one before: in all `lines`, up to `last`.
    pub fn keep<'a>(&self, lines: usize, last: u64, commands: impl ExactSizeIterator<Item = (u64, &'a CommandId)>) {
        let (mut ends, mut text) = (Vec::with_capacity(commands.len()), String::with_capacity(40 * commands.len()));
        for (line, id) in commands {
            text.push_str(id.as_str());
            ends.push((line, text.len()));
        }
        self.0.lock().expect("no panic while held").push_back(Batch { last, open: lines, ends, text });
    }

    /// The id of a line in flight.
    pub fn of(&self, line: u64) -> Option<CommandId> {
        let all = self.0.lock().expect("no panic while held");
        let batch = all.get(all.partition_point(|batch| batch.last < line))?;
        let at = batch.ends.binary_search_by_key(&line, |(line, _)| *line).ok()?;
        let begin = if at == 0 { 0 } else { batch.ends[at - 1].1 };
        CommandId::parse(&batch.text[begin..batch.ends[at].1]).ok()
    }

    /// Lets go of answered lines.
    pub fn forget(&self, lines: &[u64]) {
        let mut all = self.0.lock().expect("no panic while held");
        for line in lines {
            let at = all.partition_point(|batch| batch.last < *line);
            if let Some(batch) = all.get_mut(at) {
                batch.open -= 1;
                if batch.open == 0 {
                    all.remove(at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_flight_has_its_id_until_its_batch_is_answered() {
        let ids = Ids::default();
        let made = |n: u64| CommandId::parse(&format!("c-{n}")).unwrap();
        let keep = |lines, last, commands: &[u64]| {
            let commands: Vec<_> = commands.iter().map(|line| (*line, made(*line))).collect();
            ids.keep(lines, last, commands.iter().map(|(line, id)| (*line, id)));
        };
        // 2 is blank, 3 was refused.
        keep(3, 4, &[1, 4]);
        keep(2, 6, &[5, 6]);
        let known = || (0..8).filter_map(|line| ids.of(line)).map(|id| id.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(known(), ["c-1", "c-4", "c-5", "c-6"]);
        ids.forget(&[6, 3, 1]);
        assert_eq!(known(), ["c-1", "c-4", "c-5", "c-6"]);
        ids.forget(&[4]);
        assert_eq!(known(), ["c-5", "c-6"]);
        ids.forget(&[5]);
        assert!(ids.0.lock().unwrap().is_empty());
    }
}
