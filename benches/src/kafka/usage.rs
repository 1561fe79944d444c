//! What processes use, from /proc.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ordain::clock;

/// How often it is looked at.
const STEP: Duration = Duration::from_millis(50);
/// Length of a tick of /proc/PID/stat: Linux shows programs a hundredth of a second, whatever the kernel's own is.
const TICK_S: f64 = 0.01;

/// CPU seconds of a process, its ended threads included; 0 if there is none.
pub fn cpu_s(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is a name in parentheses and may hold anything; user and system time are the 14th and 15th.
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    behind.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * TICK_S
}

/// CPU seconds of two processes at one time.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// The system's.
    pub system_s: f64,
    /// The broker's.
    pub broker_s: f64,
}

impl Sample {
    /// Now.
    pub fn take(system: u32, broker: u32) -> Self {
        Self { at_ms: clock::now_ms(), system_s: cpu_s(system), broker_s: cpu_s(broker) }
    }
}

/// Looks at two processes until it is told to end.
pub fn watch(system: u32, broker: u32, ends: &AtomicBool) -> Vec<Sample> {
    let mut all = vec![Sample::take(system, broker)];
    while !ends.load(Ordering::Acquire) {
        std::thread::park_timeout(STEP);
        all.push(Sample::take(system, broker));
    }
    all
}

/// CPU seconds of both between two times in milliseconds since 1970, in between the samples as if used evenly.
pub fn between(samples: &[Sample], from_ms: f64, to_ms: f64) -> (f64, f64) {
    let at = |ms: f64| {
        let next = samples.partition_point(|one| (one.at_ms as f64) < ms).clamp(1, samples.len().max(2) - 1);
        let (Some(a), Some(b)) = (samples.get(next - 1), samples.get(next)) else { return (0.0, 0.0) };
        let part = ((ms - a.at_ms as f64) / ((b.at_ms - a.at_ms) as f64).max(1.0)).clamp(0.0, 1.0);
        (a.system_s + part * (b.system_s - a.system_s), a.broker_s + part * (b.broker_s - a.broker_s))
    };
    let (from, to) = (at(from_ms), at(to_ms));
    (to.0 - from.0, to.1 - from.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_between_samples_is_used_evenly() {
        let sample = |at_ms, used| Sample { at_ms, system_s: used, broker_s: 2.0 * used };
        let samples = [sample(1_000, 1.0), sample(2_000, 3.0), sample(3_000, 3.5)];
        assert_eq!(between(&samples, 1_500.0, 2_500.0), (1.25, 2.5));
        assert_eq!(between(&samples, 0.0, 9_000.0), (2.5, 5.0));
        assert!(cpu_s(std::process::id()) >= 0.0);
    }
}
