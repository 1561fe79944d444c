//! The only clock here.

use std::time::{Duration, Instant};

/// A time after which one no longer waits.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    #[expect(clippy::disallowed_methods, reason = "this is the only clock here")]
    pub fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// Whether it has passed.
    #[expect(clippy::disallowed_methods, reason = "this is the only clock here")]
    pub fn passed(self) -> bool {
        Instant::now() >= self.0
    }

    /// Asks again and again until `holds`. Whether it did in time.
    #[expect(clippy::disallowed_methods, reason = "what is waited for is a process, and it is asked with a deadline")]
    pub fn until(self, mut holds: impl FnMut() -> bool) -> bool {
        loop {
            if holds() {
                return true;
            }
            if self.passed() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
