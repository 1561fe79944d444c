//! How long one call may run: CPU time of its own thread, looked at only when the clock ticks during the call.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

/// Wall time is cut off at this multiple of the CPU budget: a thread that gets less of a core than that is no busy
/// machine but a stopped one, and a lane must not hang on it.
const WALL_FACTOR: u32 = 100;

/// The budget of the call that runs now.
///
/// A call that ends before the first tick (nearly every one) reads no clock at all.
#[derive(Debug, Default)]
pub struct Budget {
    cpu: Duration,
    /// CPU and wall clock at the first tick of the call.
    started: Option<(Duration, Duration)>,
}

impl Budget {
    /// Starts the next call.
    pub fn restart(&mut self, cpu: Duration) {
        *self = Self { cpu, started: None };
    }

    /// The clock ticked: lets the call go on until the next tick, or cuts it.
    pub fn tick(&mut self) -> UpdateDeadline {
        let (cpu, wall) = (clock(ClockId::ThreadCPUTime), clock(ClockId::Monotonic));
        let (cpu_started, wall_started) = *self.started.get_or_insert((cpu, wall));
        let over_cpu = cpu.saturating_sub(cpu_started) >= self.cpu;
        let over_wall = wall.saturating_sub(wall_started) >= self.cpu.saturating_mul(WALL_FACTOR);
        if over_cpu || over_wall { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) }
    }
}

fn clock(id: ClockId) -> Duration {
    Duration::try_from(clock_gettime(id)).unwrap_or_default() // both clocks count up from zero
}

/// Wall clock for what only people see: rates of log lines.
pub fn monotonic() -> Duration {
    clock(ClockId::Monotonic)
}
