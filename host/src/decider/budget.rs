//! How long one call may run: CPU time of its own thread, looked at only when the clock ticks during the call.

use std::time::Duration;

use wasmtime::UpdateDeadline;

use crate::clock::{Stopwatch, thread_cpu};

/// Wall time is cut off at this multiple of the CPU budget: a thread that gets less of a core than that is on no busy
/// machine but on a stopped one, and a lane must not hang on it.
const WALL_FACTOR: u32 = 100;

/// The budget of the call that runs now.
///
/// A call that ends before the first tick (nearly every one) reads no clock at all.
#[derive(Debug, Default)]
pub struct Budget {
    cpu: Duration,
    /// CPU time of the thread, and a watch, at the first tick of the call.
    started: Option<(Duration, Stopwatch)>,
}

impl Budget {
    /// Starts the next call.
    #[inline]
    pub fn restart(&mut self, cpu: Duration) {
        *self = Self { cpu, started: None };
    }

    /// The clock ticked: lets the call go on until the next tick, or cuts it.
    pub fn tick(&mut self) -> UpdateDeadline {
        let now = thread_cpu();
        let (started, watch) = *self.started.get_or_insert_with(|| (now, Stopwatch::start()));
        let over_cpu = now.saturating_sub(started) >= self.cpu;
        let over_wall = watch.elapsed() >= self.cpu.saturating_mul(WALL_FACTOR);
        if over_cpu || over_wall { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) }
    }
}
