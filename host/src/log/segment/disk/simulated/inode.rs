//! One file of the simulated disk: what a process sees, what is durable, and what a power loss makes of the difference.

use super::super::super::super::test_kit::Dice;

#[derive(Debug, Default, Clone)]
pub struct Inode {
    /// As a running process sees it.
    pub cached: Vec<u8>,
    /// As it is on the disk for certain.
    pub synced: Vec<u8>,
    /// What happened between.
    pub pending: Vec<Change>,
}

#[derive(Debug, Clone)]
pub enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Inode {
    /// Moves an arbitrary part of what is pending to what is synced.
    pub fn settle(&mut self, dice: &mut Dice) {
        let pending = std::mem::take(&mut self.pending);
        let mut lengths = vec![self.synced.len()];
        let mut length = self.synced.len();
        for change in &pending {
            length = match change {
                Change::Write { offset, bytes } => length.max(offset + bytes.len()),
                Change::Length(length) => *length,
            };
            lengths.push(length);
        }
        let survive = dice.one_of(&[0, 30, 70, 95, 100]);
        let mut order: Vec<&Change> = pending.iter().collect();
        if dice.chance(50) {
            for i in (1..order.len()).rev() {
                order.swap(i, dice.below(i as u64 + 1) as usize);
            }
        }
        for change in order {
            match change {
                Change::Write { offset, bytes } => self.settle_write(*offset, bytes, survive, dice),
                Change::Length(length) if dice.chance(survive) => {
                    let cut = (*length).min(self.synced.len());
                    self.synced[cut..].fill(0);
                }
                Change::Length(_) => {}
            }
        }
        let length = if survive == 100 { length } else { dice.one_of(&lengths) };
        self.synced.resize(length, 0);
    }

    /// Lets bytes, sectors or pages of a write survive.
    fn settle_write(&mut self, offset: usize, bytes: &[u8], survive: u64, dice: &mut Dice) {
        let end = offset + bytes.len();
        if bytes.is_empty() {
            return;
        }
        if self.synced.len() < end {
            self.synced.resize(end, 0);
        }
        let grain = dice.one_of(&[1, 64, 512, 512, 4096]);
        let pieces = (end - 1) / grain - offset / grain + 1;
        // Its beginning, all but one piece, or any pieces.
        let shape = if survive == 100 { 9 } else { dice.below(5) };
        let drawn = dice.below(pieces as u64) as usize;
        for piece in 0..pieces {
            let from = ((offset / grain + piece) * grain).max(offset);
            let until = ((offset / grain + piece + 1) * grain).min(end);
            let survives = match shape {
                0 => piece < drawn,
                1..=2 => piece != drawn,
                _ => dice.chance(survive),
            };
            if survives {
                self.synced[from..until].copy_from_slice(&bytes[from - offset..until - offset]);
            }
        }
    }

    /// Makes durable what is dirty, and only that: what a failed sync left clean stays different from the cache until
    /// it is written again.
    pub fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write { offset, bytes } => {
                    let end = offset + bytes.len();
                    let length = self.synced.len().max(end);
                    self.synced.resize(length, 0);
                    self.synced[offset..end].copy_from_slice(&bytes);
                }
                Change::Length(length) => self.synced.resize(length, 0),
            }
        }
    }
}
