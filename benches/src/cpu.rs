//! CPU time of threads, and how busy the machine is.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned() as u32)
}

/// CPU time of the calling thread.
pub fn of_this_thread() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// CPU time of this process.
pub fn of_this_process() -> Duration {
    read(ClockId::ProcessCPUTime)
}

/// CPU time of this process's living threads whose names begin so.
pub fn of_threads(name: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mine =
        tasks.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.starts_with(name)));
    mine.filter_map(|task| {
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        Some(Duration::from_nanos(stat.split(' ').next()?.parse().ok()?))
    })
    .sum()
}

/// Processes that wanted a core, over the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}
