//! What a start costs that finds no store: every event of the log is read, checked and folded. One lane, CPU time of its
//! thread, so the figure is per core.

use std::time::Duration;

use ordain::clock::Stopwatch;
use ordain::lane::Settings;
use ordain::log::Lsn;
use ordain_tests::figures::Figures;

use crate::bank::Bank;
use crate::cpu;
use crate::drive::drive;
use crate::host::{Host, settings};
use crate::plan::Plan;
use crate::rounds::{median, rounded};
use crate::rules;

/// Events of each account.
const EVENTS_EACH: u64 = 10;

/// Measures.
pub fn run(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let wasm = rules::compile(&plan.guest("bank-v1.wasm")?, &plan.folder.join("cache"))?;
    let book = rules::book(&wasm);
    let folder = plan.folder.join("rebuild");
    let events: u64 = plan.pick(300_000, 1_000_000);
    let accounts = events / EVENTS_EACH;
    let host = Host::start(&folder, settings(1, 1_024), &book)?;
    let mut bank = Bank::new(5)?;
    drive(&host, bank.opens(0, accounts), 2_048)?;
    for _ in 1..EVENTS_EACH {
        drive(&host, bank.rounds_of_deposits(0, accounts, 1), 2_048)?;
    }
    let end = host.log.end();
    host.stop();
    // A store that lacks everything is brought up to date at once.
    let eager = Settings { checkpoint_aggregates: 1, ..settings(1, 1_024) };
    let (mut read, mut folded, mut walls) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.pick(2, 7) {
        std::fs::remove_dir_all(folder.join("store"))?;
        let watch = Stopwatch::start();
        let host = Host::start(&folder, eager.clone(), &book)?;
        walls.push(watch.elapsed().as_secs_f64());
        let rate = |spent: Duration| events as f64 / spent.as_secs_f64();
        read.push(rate(cpu::of_threads("lane-")));
        host.until("the store has everything", |host| {
            host.store.marks().iter().all(|mark| reached(mark.position, end))
        })?;
        folded.push(rate(cpu::of_threads("lane-")));
        host.stop();
    }
    let ready = rounded(median(&read), 3);
    figures.promise("rebuild_until_ready", ready, "events/s per core", ">= 1000000", ready >= 1e6);
    let all = rounded(median(&folded), 3);
    figures.tell("rebuild_and_store", all, "events/s per core");
    figures.tell("rebuild_wall", rounded(median(&walls), 3), &format!("s for {events} events, one lane"));
    Ok(())
}

fn reached(position: Lsn, end: Lsn) -> bool {
    position >= end
}
