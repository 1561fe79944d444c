//! The yardstick of everything durable: append some bytes to a file, fdatasync, again.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use ordain::clock::Stopwatch;

/// How the file grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// By each append: the length is made durable with it.
    Append,
    /// It has its length before.
    Ahead,
}

/// Bytes by which a file that grows ahead does so.
const AHEAD_BYTES: u64 = 256 << 20;

/// Appends of `bytes` bytes per second, each made durable before the next.
///
/// # Errors
/// What the disk says.
pub fn appends_per_second(folder: &Path, bytes: usize, growth: Growth, time: Duration) -> anyhow::Result<f64> {
    let path = folder.join("raw");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    if growth == Growth::Ahead {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, AHEAD_BYTES)?;
        file.sync_all()?;
    }
    let block: Vec<u8> = (0..bytes).map(|n| (n * 31 % 251) as u8).collect();
    let watch = Stopwatch::start();
    let mut appends = 0_u64;
    while watch.elapsed() < time {
        file.write_all(&block)?;
        file.sync_data()?;
        appends += 1;
    }
    let elapsed = watch.elapsed();
    std::fs::remove_file(&path)?;
    Ok(appends as f64 / elapsed.as_secs_f64())
}
