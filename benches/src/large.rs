//! A daemon with a million aggregates: its memory, and how long it takes to be back.

use std::time::Duration;

use anyhow::Context;
use ordain_tests::figures::Figures;

use crate::cpu;
use crate::http::stream::Lines;
use crate::http::{self, OPEN, WINDOW, stream};
use crate::plan::Plan;
use crate::rounds::{median, rounded};

/// Accounts, each with one event.
const ACCOUNTS: u64 = 1_000_000;
/// Commands behind the last checkpoint when the daemon is killed.
const TAIL: u64 = 20_000;

/// Measures.
pub fn run(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let daemon = runtime.block_on(http::daemon(plan, "large", &[]))?;
    let empty = cpu::memory_of(daemon.addresses().pid).context("no memory of the daemon")?;
    let took = http::open(&runtime, daemon.http(), 0, ACCOUNTS)?;
    figures.tell("open_1m_aggregates", rounded(ACCOUNTS as f64 / took.as_secs_f64(), 3), "commands/s");
    let full = cpu::memory_of(daemon.addresses().pid).context("no memory of the daemon")?;
    let mib = |bytes: u64| rounded(bytes as f64 / f64::from(1 << 20), 3);
    figures.tell("memory_daemon_empty", mib(empty), "MiB");
    figures.tell("memory_daemon_1m_aggregates", mib(full), "MiB");
    // A clean stop ends with a checkpoint of everything.
    runtime.block_on(daemon.stop(Duration::from_secs(120)))?;
    let mut clean = Vec::new();
    for _ in 0..plan.pick(2, 5) {
        let daemon = runtime.block_on(http::daemon(plan, "large", &[]))?;
        clean.push(daemon.took.as_secs_f64());
        runtime.block_on(daemon.stop(Duration::from_secs(60)))?;
    }
    let seconds = rounded(median(&clean), 3);
    figures.promise("restart_1m_events", seconds, "s until ready", "<= 1", seconds <= 1.0);
    let mut killed = Vec::new();
    for round in 0..plan.pick(1, 5) {
        let daemon = runtime.block_on(http::daemon(plan, "large", &[]))?;
        let from = ACCOUNTS + round * TAIL;
        let lines = Lines::new(TAIL, |n| http::line(&format!("acc-{:07}", from + n), (2 << 60) + from + n, OPEN));
        runtime.block_on(stream::run(daemon.http(), lines, WINDOW))?;
        daemon.kill()?;
        let daemon = runtime.block_on(http::daemon(plan, "large", &[]))?;
        killed.push(daemon.took.as_secs_f64());
        runtime.block_on(daemon.stop(Duration::from_secs(60)))?;
    }
    let seconds = rounded(median(&killed), 3);
    figures.promise("restart_1m_events_killed", seconds, "s until ready", "<= 1", seconds <= 1.0);
    Ok(())
}
