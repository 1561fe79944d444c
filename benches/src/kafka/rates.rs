//! A fixed rate: from a command handed to the client until its answer is readable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use ordain_tests::clock;

use super::Setting;
use super::load::Sender;
use super::reader::{Ends, Reader};
use super::system::{Place, Running};
use super::usage::{Sample, cpu_s};
use crate::cpu::memory_of;

/// How long after the last command answers may come.
const LATE: Duration = Duration::from_secs(60);

/// What one run at one rate was like.
#[derive(Debug, Clone, Copy)]
pub struct Rated {
    /// Milliseconds.
    pub p50_ms: f64,
    /// See [`Self::p50_ms`].
    pub p99_ms: f64,
    /// See [`Self::p50_ms`].
    pub p999_ms: f64,
    /// CPU seconds of the system for a million commands.
    pub system_cpu: f64,
    /// CPU seconds of the broker for a million commands.
    pub broker_cpu: f64,
    /// Bytes in memory at the end.
    pub memory: u64,
    /// Commands without an answer.
    pub lost: u64,
    /// Answers to commands that had one.
    pub doubled: u64,
}

/// Answers to the commands `first…`, and how often each was answered.
pub struct Answered {
    first: u64,
    times: Vec<u8>,
    /// Commands that have an answer.
    pub count: u64,
    /// Answers to commands that had one.
    pub doubled: u64,
}

impl Answered {
    /// None yet.
    pub fn new(first: u64, count: usize) -> Self {
        Self { first, times: vec![0; count], count: 0, doubled: 0 }
    }

    /// Notes one. Its place if it is one of these commands and the first answer to it.
    pub fn note(&mut self, n: u64) -> Option<usize> {
        let place = usize::try_from(n.checked_sub(self.first)?).ok()?;
        let times = self.times.get_mut(place)?;
        *times = times.saturating_add(1);
        if *times > 1 {
            self.doubled += 1;
            return None;
        }
        self.count += 1;
        Some(place)
    }

    /// Commands without an answer.
    pub fn lost(&self) -> u64 {
        self.times.len() as u64 - self.count
    }
}

/// Sends `seconds` of commands at `rate` per second, from number `first` on; those of the first `skipped_s` are not counted.
/// Small waits of the client are part of the figure: 5 ms where there is something to send along, none at 100 a second.
///
/// # Errors
/// If a system or the broker fails.
pub fn run(
    setting: &Setting,
    place: &Place,
    running: &Running,
    first: u64,
    (rate, skipped_s, seconds): (u64, u64, u64),
) -> anyhow::Result<Rated> {
    let brokers = &setting.brokers;
    let ends = Ends::of(brokers, &place.prefix)?.now()?;
    let mut reader = Reader::from(brokers, &place.prefix, &ends)?;
    let sent: Vec<AtomicU64> = (0..rate * seconds).map(|_| AtomicU64::new(0)).collect();
    let mut sender = Sender::new(brokers, &place.prefix, if rate < 1_000 { 0 } else { 5 })?;
    let mut answered = Answered::new(first, sent.len());
    let mut latencies = Histogram::<u64>::new_with_bounds(1, LATE.as_micros() as u64, 3)?;
    let before = Sample::take(running.pid(), setting.broker);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| sender.at_rate(first, rate, &sent));
        let start = clock::now_ns();
        while answered.lost() > 0 && clock::since(start) < Duration::from_secs(seconds) + LATE {
            reader.poll(Duration::from_millis(100), |answer| {
                let now = clock::now_ns();
                let Some(place) = answered.note(answer.n) else { return };
                if place as u64 >= rate * skipped_s {
                    let took = now.saturating_sub(sent[place].load(Ordering::Acquire));
                    latencies.saturating_record(took / 1_000);
                }
            })?;
        }
        sending.join().map_err(|_| anyhow::anyhow!("the load generator panicked"))?.context("the load")
    })?;
    let millions = sent.len() as f64 / 1e6;
    let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Rated {
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        system_cpu: (cpu_s(running.pid()) - before.system_s) / millions,
        broker_cpu: (cpu_s(setting.broker) - before.broker_s) / millions,
        memory: memory_of(running.pid()).context("the system has ended")?,
        lost: answered.lost(),
        doubled: answered.doubled,
    })
}
