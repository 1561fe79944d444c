//! Durable commands through the loop, against the same bytes appended and synced by hand: one lane, blocks of exactly so
//! many commands, twice as many in flight, so that one block is decided while the other is on its way.

use std::time::Duration;

use ordain_tests::figures::Figures;

use crate::bank::Bank;
use crate::cpu;
use crate::disk::{Growth, appends_per_second};
use crate::drive::drive;
use crate::host::{Host, settings};
use crate::plan::Plan;
use crate::rounds::{median, ratio, rounded};
use crate::rules;

/// Accounts the commands go to.
const ACCOUNTS: u64 = 1_000;

/// Measures.
pub fn run(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let wasm = rules::compile(&plan.guest("bank-v1.wasm")?, &plan.folder.join("cache"))?;
    let time = Duration::from_millis(plan.pick(200, 1_000));
    for batch in [1, 16, 256] {
        let folder = plan.folder.join(format!("durable-{batch}"));
        let host = Host::start(&folder, settings(1, batch), &rules::book(&wasm))?;
        let mut bank = Bank::new(batch as u64)?;
        drive(&host, bank.opens(0, ACCOUNTS), 2 * batch)?;
        let mut sample = Sample { host: &host, bank, batch, accounts: ACCOUNTS, count: 100 * batch as u64 };
        // Warm, and to know how many commands fill the time.
        for _ in 0..3 {
            let rate = sample.commands_per_second()?.0;
            sample.count = (rate * time.as_secs_f64()) as u64;
        }
        let (mut loops, mut raws, mut aheads) = (Vec::new(), Vec::new(), Vec::new());
        let (mut sizes, mut blocks) = (Vec::new(), Vec::new());
        for _ in 0..plan.pick(5, 11) {
            let (rate, bytes, commands) = sample.commands_per_second()?;
            loops.push(rate);
            sizes.push(bytes / commands);
            blocks.push(commands);
            let raw = |growth| appends_per_second(&folder, bytes.round() as usize, growth, time);
            raws.push(raw(Growth::Append)? * commands);
            aheads.push(raw(Growth::Ahead)? * commands);
        }
        let name = |what: &str| format!("durable_{what}_batch_{batch}");
        figures.tell(&name("loop"), rounded(median(&loops), 3), "commands/s");
        figures.tell(&name("raw"), rounded(median(&raws), 3), "commands/s");
        figures.tell(&name("raw_ahead"), rounded(median(&aheads), 3), "commands/s");
        figures.tell(&name("commands"), rounded(median(&blocks), 3), "commands a commit");
        figures.tell(&name("bytes"), rounded(median(&sizes), 3), "bytes a command");
        let share = rounded(100.0 * ratio(&loops, &raws), 3);
        if batch == 1 {
            figures.tell(&name("loop_of_raw"), share, "%");
        } else {
            figures.promise(&name("loop_of_raw"), share, "%", ">= 50", share >= 50.0);
        }
        figures.tell(&name("loop_of_raw_ahead"), rounded(100.0 * ratio(&loops, &aheads), 3), "%");
        host.stop();
    }
    Ok(())
}

/// Nothing but the loop, for a profiler to look at: one lane, full blocks, few accounts.
pub fn only_the_loop(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    only_loop(plan, figures, ACCOUNTS)
}

/// The same with a million accounts.
pub fn only_the_large_loop(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    only_loop(plan, figures, 1_000_000)
}

fn only_loop(plan: &Plan, figures: &mut Figures, accounts: u64) -> anyhow::Result<()> {
    let wasm = rules::compile(&plan.guest("bank-v1.wasm")?, &plan.folder.join("cache"))?;
    let host = Host::start(&plan.folder.join("loop"), settings(1, 256), &rules::book(&wasm))?;
    let mut bank = Bank::new(1)?;
    drive(&host, bank.opens(0, accounts), 512)?;
    let mut sample = Sample { host: &host, bank, batch: 256, accounts, count: 200_000 };
    let spent = |thread| cpu::of_threads(thread).as_secs_f64() * 1e6;
    let threads = ["lane-0", "log-commit", "log-index", "store-write", "store-merge", "ordain-benches"];
    let before = threads.map(spent);
    let mut rates = Vec::new();
    for _ in 0..plan.pick(20, 60) {
        rates.push(sample.commands_per_second()?.0);
    }
    let rate = median(&rates);
    figures.tell("loop", rounded(rate, 3), "commands/s");
    for (thread, before) in threads.into_iter().zip(before) {
        let each = (spent(thread) - before) / (sample.count as f64 * rates.len() as f64);
        figures.tell(&format!("loop_cpu_{thread}"), rounded(each, 3), "µs a command");
    }
    std::mem::forget(host);
    Ok(())
}

struct Sample<'a> {
    host: &'a Host,
    bank: Bank,
    batch: usize,
    accounts: u64,
    count: u64,
}

impl Sample<'_> {
    /// Commands per second, and what a commit had: bytes and commands.
    fn commands_per_second(&mut self) -> anyhow::Result<(f64, f64, f64)> {
        let commands = self.bank.deposits(self.accounts, self.count);
        let (end, commits) = (self.host.log.end(), self.host.commits());
        let took = drive(self.host, commands, 2 * self.batch)?;
        let commits = (self.host.commits() - commits) as f64;
        let bytes = (self.host.log.end().0 - end.0) as f64;
        Ok((self.count as f64 / took.as_secs_f64(), bytes / commits, self.count as f64 / commits))
    }
}
