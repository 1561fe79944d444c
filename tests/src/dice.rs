//! Random numbers that are the same on every machine for the same seed.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014): a few lines, and good enough to choose what happens next.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice of a seed and a name: each name has numbers of its own.
    pub fn new(seed: u64, name: &str) -> Self {
        let mixed = name.bytes().fold(seed, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(mixed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    /// A number from `from` on, below `end`.
    pub fn between(&mut self, from: u64, end: u64) -> u64 {
        from + self.below(end.saturating_sub(from))
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A time in milliseconds from `from` on, below `end`.
    pub fn ms(&mut self, from: u64, end: u64) -> Duration {
        Duration::from_micros(self.between(from * 1_000, end * 1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_a_name_its_own() {
        let rolls = |seed, name| {
            let mut dice = Dice::new(seed, name);
            [dice.roll(), dice.roll(), dice.below(7)]
        };
        assert_eq!(rolls(7, "a"), rolls(7, "a"));
        assert_ne!(rolls(7, "a"), rolls(7, "b"));
        assert_ne!(rolls(7, "a"), rolls(8, "a"));
        assert_eq!(Dice::new(1, "x").between(5, 6), 5);
    }
}
