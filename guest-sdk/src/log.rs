//! What rules say to the operator: `log!`.
//!
//! Lines wait in a bounded buffer until the host takes them after the call; it writes them to its own log with the
//! aggregate's type, id and the module's digest. A module has no other way to say something, and no import for it.

use crate::contract::LOG_BYTES_MAX;
use std::cell::{Cell, RefCell};
use std::fmt::{Arguments, Write};

/// Logs one line, formatted like `format!`. In a native test it is printed (`cargo test -- --nocapture` shows it).
///
/// Logging is no part of a decision: lines may be dropped, and replayed decisions log again.
#[macro_export]
macro_rules! log {
    ($($line:tt)*) => { $crate::log::line(format_args!($($line)*)) };
}

/// Lines that wait for the host, with those that found no room counted.
#[derive(Debug)]
pub struct LogBuffer {
    text: RefCell<Vec<u8>>,
    dropped: Cell<u32>,
    taken: Cell<bool>,
    fresh: Cell<bool>,
}

/// Room kept for the line that says how many were dropped.
const DROPPED_LINE_BYTES_MAX: usize = 64;

impl LogBuffer {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { text: RefCell::new(Vec::new()), dropped: Cell::new(0), taken: Cell::new(false), fresh: Cell::new(false) }
    }

    /// Adds one line; counts it as dropped if it does not fit.
    pub fn line(&self, line: Arguments<'_>) {
        self.fresh.set(true);
        // Formatted apart from the buffer, because a value's own formatting may log as well.
        let mut room = Bounded(String::new());
        let whole = room.write_fmt(line).and_then(|()| room.write_char('\n')).is_ok();
        let mut text = self.text.borrow_mut();
        if self.taken.replace(false) {
            text.clear();
        }
        if whole && text.len() + room.0.len() + DROPPED_LINE_BYTES_MAX <= LOG_BYTES_MAX {
            text.extend_from_slice(room.0.as_bytes());
        } else {
            self.dropped.set(self.dropped.get().saturating_add(1));
        }
    }

    /// Whether a line was logged since this was last asked.
    pub fn take_fresh(&self) -> bool {
        self.fresh.replace(false)
    }

    /// Hands the waiting text to `read` and empties the buffer. The bytes stay in place until the next line.
    pub fn take<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        let mut text = self.text.borrow_mut();
        if self.taken.replace(true) {
            text.clear();
        }
        match self.dropped.replace(0) {
            0 => {}
            dropped => text.extend_from_slice(format!("({dropped} lines dropped)\n").as_bytes()),
        }
        read(&text)
    }
}

impl Default for LogBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Text that refuses to outgrow the whole buffer.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        if self.0.len() + part.len() > LOG_BYTES_MAX {
            return Err(std::fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}

/// Logs one line; `log!` calls this.
pub fn line(line: Arguments<'_>) {
    #[cfg(not(target_arch = "wasm32"))]
    let text = line.to_string();
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("log: {text}");
    #[cfg(not(target_arch = "wasm32"))]
    let line = format_args!("{text}");
    crate::export::with(|sdk| sdk.log.line(line));
}

/// The lines logged on this thread since the last look, as one text. For tests; a module's host uses `ordain_log`.
pub fn take() -> String {
    crate::export::with(|sdk| sdk.log.take(|text| String::from_utf8_lossy(text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_once_and_in_order() {
        let log = LogBuffer::new();
        log.line(format_args!("one {}", 1));
        log.line(format_args!("two"));
        assert!(log.take_fresh());
        assert_eq!(log.take(<[u8]>::to_vec), b"one 1\ntwo\n");
        assert_eq!(log.take(<[u8]>::to_vec), b"");
        log.line(format_args!("three"));
        assert_eq!(log.take(<[u8]>::to_vec), b"three\n");
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let log = LogBuffer::new();
        for number in 0..10_000 {
            log.line(format_args!("line {number}"));
        }
        log.line(format_args!("{}", "x".repeat(2 * LOG_BYTES_MAX)));
        let text = log.take(|text| String::from_utf8(text.to_vec()).unwrap());
        assert!(text.len() <= LOG_BYTES_MAX, "{} bytes", text.len());
        let kept = text.lines().count() - 1;
        assert_eq!(text.lines().last().unwrap(), format!("({} lines dropped)", 10_001 - kept));
    }

    #[test]
    fn formatting_may_log_too() {
        struct Chatty;
        impl std::fmt::Display for Chatty {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                crate::log!("inner");
                f.write_str("outer")
            }
        }
        take();
        crate::log!("{Chatty}");
        assert_eq!(take(), "inner\nouter\n");
    }
}
