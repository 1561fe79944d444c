//! CPU time of threads, and how busy the machine is.

use std::fs;
use std::path::Path;
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

/// CPU time of this process's living threads whose names begin so.
pub fn of_threads(name: &str) -> Duration {
    of_tasks(Path::new("/proc/self/task"), name)
}

/// CPU time of another process's living threads.
pub fn of_process(pid: u32) -> Duration {
    of_tasks(&Path::new("/proc").join(pid.to_string()).join("task"), "")
}

fn of_tasks(folder: &Path, name: &str) -> Duration {
    let tasks = fs::read_dir(folder).into_iter().flatten().flatten();
    let named =
        tasks.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.starts_with(name)));
    let nanoseconds = named.filter_map(|task| {
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse().ok()
    });
    nanoseconds.map(Duration::from_nanos).sum()
}

/// Bytes of memory a process has in use.
pub fn memory_of(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Processes that wanted a core, over the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}
