//! The only clock here.

use std::time::Duration;

/// Nanoseconds of the system's monotonic clock: the same for every process of one machine.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Time since [`now_ns`] gave `start`.
pub fn since(start: u64) -> Duration {
    Duration::from_nanos(now_ns().saturating_sub(start))
}

/// Seconds since 1970-01-01 UTC with their fraction, to compare with what other programs wrote down.
pub fn unix_seconds_exact() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Seconds since 1970-01-01 UTC, for names and reports.
pub fn unix_seconds() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec
}
