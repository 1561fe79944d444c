//! What rules say with `log!`, in the host's own log: named, bounded, escaped.

use std::time::Duration;

use super::limits::Limits;
use super::module::Module;
use super::text::{SENTENCE_BYTES_MAX, one_line};
use crate::clock::Stopwatch;

/// Takes the lines of one instance to the log, so many per second and no more.
#[derive(Debug)]
pub struct Logs {
    module: Module,
    bytes_per_call_max: usize,
    lines_per_second_max: u32,
    second: Stopwatch,
    lines: u32,
    suppressed: u64,
}

impl Logs {
    /// For an instance of `module`.
    pub fn new(module: &Module, limits: &Limits) -> Self {
        Self {
            module: module.clone(),
            bytes_per_call_max: usize::try_from(limits.log_bytes_per_call_max).unwrap_or(usize::MAX),
            lines_per_second_max: limits.log_lines_per_second_max,
            second: Stopwatch::start(),
            lines: 0,
            suppressed: 0,
        }
    }

    /// Shows the lines that one decision about `aggregate_id` logged.
    #[cold]
    pub fn show(&mut self, aggregate_id: &str, text: &[u8]) {
        if !tracing::enabled!(target: "ordain::module", tracing::Level::INFO) {
            return;
        }
        if self.second.elapsed() >= Duration::from_secs(1) {
            if self.suppressed > 0 {
                self.line(aggregate_id, &format!("({} lines more were not shown)", self.suppressed));
            }
            (self.second, self.lines, self.suppressed) = (Stopwatch::start(), 0, 0);
        }
        let kept = &text[..text.len().min(self.bytes_per_call_max)];
        for line in kept.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            if self.lines >= self.lines_per_second_max {
                self.suppressed += 1;
                continue;
            }
            self.lines += 1;
            self.line(aggregate_id, &one_line(line, SENTENCE_BYTES_MAX));
        }
        if kept.len() < text.len() {
            self.suppressed += 1;
        }
    }

    fn line(&self, aggregate_id: &str, line: &str) {
        let (aggregate_type, module) = (self.module.aggregate_type().as_str(), self.module.digest());
        tracing::info!(target: "ordain::module", aggregate_type, aggregate_id, %module, "{line}");
    }
}
