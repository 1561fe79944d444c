//! The commands of a run that have no answer yet, in the order in which they were sent.

use std::collections::VecDeque;
use std::time::Duration;

use super::Line;
use crate::clock::Stopwatch;

/// Commands on their way. On each connection, lines are numbered from 1.
#[derive(Debug, Default)]
pub struct Pending {
    /// From the first one without an answer on; `None` = answered.
    slots: VecDeque<Option<Sent>>,
    /// Number on the connection of the first slot, less 1.
    answered_before: u64,
    /// Slots that are not `None`.
    open: usize,
    /// Of a connection that is gone, to be sent again first.
    again: VecDeque<Line>,
    /// Lines were put into a piece that was not sent yet.
    unsent: bool,
}

#[derive(Debug)]
struct Sent {
    line: Line,
    since: Stopwatch,
}

impl Pending {
    /// The connection is gone: all that has no answer waits to be sent again.
    pub fn send_again(&mut self) {
        let unanswered: Vec<Line> = self.slots.drain(..).flatten().map(|sent| sent.line).collect();
        for line in unanswered.into_iter().rev() {
            self.again.push_front(line);
        }
        (self.answered_before, self.open, self.unsent) = (0, 0, false);
    }

    /// Puts the next line that must be sent again into the piece; false if there is none.
    pub fn put_again(&mut self, piece: &mut Vec<u8>) -> bool {
        let line = self.again.pop_front();
        let found = line.is_some();
        if let Some(line) = line {
            self.put(line, piece);
        }
        found
    }

    /// Puts a line into the piece.
    pub fn put(&mut self, line: Line, piece: &mut Vec<u8>) {
        piece.extend_from_slice(&line.text);
        self.slots.push_back(Some(Sent { line, since: Stopwatch::start() }));
        self.open += 1;
        self.unsent = true;
    }

    /// The piece was sent.
    pub fn sent(&mut self) {
        self.unsent = false;
    }

    /// Whether a piece waits to be sent.
    pub fn unsent(&self) -> bool {
        self.unsent
    }

    /// Whether lines wait to be sent again.
    pub fn waits(&self) -> bool {
        !self.again.is_empty()
    }

    /// Lines on this connection without an answer.
    pub fn in_flight(&self) -> usize {
        self.open
    }

    /// All lines without an answer.
    pub fn open(&self) -> usize {
        self.open + self.again.len()
    }

    /// The line with this number on the connection was answered: its number in the file, and how long it took.
    /// `None` if it is not on its way.
    pub fn take(&mut self, number: u64) -> Option<(u64, Duration)> {
        let at = number.checked_sub(self.answered_before + 1)?;
        let sent = self.slots.get_mut(usize::try_from(at).ok()?)?.take()?;
        self.open -= 1;
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.answered_before += 1;
        }
        Some((sent.line.number, sent.since.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64) -> Line {
        Line { number, text: format!("{number}\n").into_bytes() }
    }

    /// After a connection broke, what it left open goes first, in order, and is numbered from 1 again.
    #[test]
    fn the_unanswered_go_again_in_their_order() {
        let (mut pending, mut piece) = (Pending::default(), Vec::new());
        for number in 1..=5 {
            pending.put(line(number * 10), &mut piece);
        }
        assert_eq!(pending.take(2).unwrap().0, 20);
        assert_eq!(pending.take(1).unwrap().0, 10);
        assert_eq!(pending.take(4).unwrap().0, 40);
        assert!(pending.take(4).is_none() && pending.take(0).is_none() && pending.take(9).is_none());
        assert_eq!((pending.open(), pending.in_flight()), (2, 2));
        pending.send_again();
        assert_eq!((pending.open(), pending.in_flight()), (2, 0));
        piece.clear();
        assert!(pending.put_again(&mut piece) && pending.put_again(&mut piece) && !pending.put_again(&mut piece));
        assert_eq!(piece, b"30\n50\n");
        assert_eq!(pending.take(2).unwrap().0, 50);
        pending.send_again();
        assert_eq!(pending.open(), 1);
    }
}
