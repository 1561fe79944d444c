//! Saturation: a backlog lies in the topic before the system starts. What counts is the middle of it, when everything is
//! warm: from 40 % of the answers to 90 %, by the times at which the broker appended them. They are read when all is done,
//! so that the reader takes nothing away from what is measured.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use ordain_tests::clock;

use super::Setting;
use super::load::Sender;
use super::rates::Answered;
use super::reader::{Ends, Reader};
use super::system::{Place, Running};
use super::usage::{between, watch};
use crate::cpu::memory_of;

/// How long a backlog may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long ends must stand still before it is looked whether all is answered.
const QUIET: Duration = Duration::from_millis(700);

/// What one run was like.
#[derive(Debug, Clone, Copy)]
pub struct Saturated {
    /// Commands a second, warm.
    pub rate: f64,
    /// Commands a second from the start of the process to the last answer.
    pub rate_from_start: f64,
    /// CPU seconds of the system for a million commands, warm.
    pub system_cpu: f64,
    /// CPU seconds of the broker for a million commands, warm.
    pub broker_cpu: f64,
    /// Bytes in memory at the end.
    pub memory: u64,
    /// Commands without an answer.
    pub lost: u64,
    /// Answers to commands that had one.
    pub doubled: u64,
}

/// Sends commands `first..first + count`, starts the system and waits until all are answered. The system must not run
/// before, and runs after.
///
/// # Errors
/// If a system or the broker fails.
pub fn run(setting: &Setting, place: &Place, first: u64, count: u64) -> anyhow::Result<(Saturated, Running)> {
    let brokers = &setting.brokers;
    Sender::new(brokers, &place.prefix, 50)?.all(first..first + count)?;
    let ends = Ends::of(brokers, &place.prefix)?;
    let begin = ends.now()?;
    let start_ms = ordain::clock::now_ms() as f64;
    let running = place.start(setting)?;
    let done = AtomicBool::new(false);
    let (answers, samples) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(running.pid(), setting.broker, &done));
        let answers = wait(setting, place, (first, count), &ends, &begin);
        done.store(true, Ordering::Release);
        let samples = watching.join().map_err(|_| anyhow::anyhow!("the watch panicked"))?;
        anyhow::Ok((answers?, samples))
    })?;
    let (answered, mut stamps) = answers;
    stamps.sort_unstable();
    let at = |part: f64| stamps[((stamps.len() - 1) as f64 * part) as usize] as f64;
    let (from, to) = (at(0.4), at(0.9));
    let (system_s, broker_s) = between(&samples, from, to);
    let millions = count as f64 * 0.5 / 1e6;
    let saturated = Saturated {
        rate: millions * 1e6 / ((to - from).max(1.0) / 1e3),
        rate_from_start: count as f64 / ((at(1.0) - start_ms).max(1.0) / 1e3),
        system_cpu: system_s / millions,
        broker_cpu: broker_s / millions,
        memory: memory_of(running.pid()).context("the system has ended")?,
        lost: answered.lost(),
        doubled: answered.doubled,
    };
    Ok((saturated, running))
}

/// Waits until the ends stand still and all is answered. Returns the answers and when each was appended.
fn wait(
    setting: &Setting,
    place: &Place,
    (first, count): (u64, u64),
    ends: &Ends,
    begin: &[i64],
) -> anyhow::Result<(Answered, Vec<i64>)> {
    let start = clock::now_ns();
    let mut last = begin.to_vec();
    let mut since = clock::now_ns();
    let records = |now: &[i64]| now.iter().zip(begin).map(|(now, begin)| now - begin).sum::<i64>().unsigned_abs();
    while clock::since(start) < PATIENCE {
        std::thread::park_timeout(Duration::from_millis(100));
        let now = ends.now()?;
        if now != last {
            (last, since) = (now, clock::now_ns());
        } else if records(&now) >= count && clock::since(since) > QUIET {
            return read(setting, place, (first, count), begin);
        }
    }
    bail!("{} answered {} of {count} commands in time", place.system.name(), records(&last))
}

fn read(
    setting: &Setting,
    place: &Place,
    (first, count): (u64, u64),
    begin: &[i64],
) -> anyhow::Result<(Answered, Vec<i64>)> {
    let mut answered = Answered::new(first, usize::try_from(count)?);
    let mut stamps = Vec::with_capacity(usize::try_from(count)?);
    let mut reader = Reader::from(&setting.brokers, &place.prefix, begin)?;
    let start = clock::now_ns();
    while answered.lost() > 0 && clock::since(start) < PATIENCE {
        reader.poll(Duration::from_millis(100), |answer| {
            if answered.note(answer.n).is_some() {
                stamps.push(answer.stamp_ms);
            }
        })?;
    }
    if stamps.is_empty() { bail!("{} answered nothing", place.system.name()) } else { Ok((answered, stamps)) }
}
