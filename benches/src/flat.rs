//! Whether a command costs the same however many aggregates there are, and however long their histories: CPU time of the
//! lane's thread for each command, one lane, blocks of 256. All sizes take turns.

use ordain::lane::Settings;
use ordain_tests::figures::Figures;

use crate::bank::Bank;
use crate::cpu;
use crate::drive::drive;
use crate::host::{Host, settings};
use crate::plan::Plan;
use crate::rounds::{median, rounded};
use crate::rules;

/// Commands of a block.
const BATCH: usize = 256;
/// Commands between two looks at the clock.
const SAMPLE: u64 = 20_000;
/// By how much the dearest size may cost more than the cheapest, in percent.
const FLAT: f64 = 20.0;

/// Measures at 10³ to 10⁶ aggregates.
pub fn aggregates(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let sizes = [1_000, 10_000, 100_000, 1_000_000];
    let mut sides = Vec::new();
    for accounts in sizes {
        let before = cpu::memory_of(std::process::id()).unwrap_or(0);
        sides.push(Side::new(plan, &format!("aggregates_{accounts}"), accounts, 1)?);
        let after = cpu::memory_of(std::process::id()).unwrap_or(0);
        if accounts == 1_000_000 {
            let bytes = after.saturating_sub(before) as f64;
            figures.tell("memory_all_resident_1m", rounded(bytes / f64::from(1 << 20), 3), "MiB");
            figures.tell("memory_each_resident", rounded(bytes / accounts as f64, 3), "bytes an aggregate");
        }
    }
    compare(plan, figures, sides, "flat_over_aggregates")
}

/// Measures at 1 to 10⁴ events of each aggregate.
pub fn events(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    // Short histories need many accounts, or the samples themselves would make them long.
    let sizes = [(1, 20_000), (10, 20_000), (100, 2_000), (1_000, 200), (10_000, 50)];
    let mut sides = Vec::new();
    for (events, accounts) in sizes {
        sides.push(Side::new(plan, &format!("events_{events}"), accounts, events)?);
    }
    compare(plan, figures, sides, "flat_over_events")
}

fn compare(plan: &Plan, figures: &mut Figures, mut sides: Vec<Side>, name: &str) -> anyhow::Result<()> {
    for _ in 0..plan.pick(5, 15) {
        for side in &mut sides {
            side.sample()?;
        }
    }
    let mut costs = Vec::new();
    for side in sides {
        // The first one warms.
        let cost = rounded(median(&side.samples[1..]), 3);
        figures.tell(&format!("cost_at_{}", side.name), cost, "µs of the lane");
        costs.push(cost);
        // Its last checkpoint would take longer than all of this; the process ends without it.
        std::mem::forget(side.host);
    }
    let (least, most) = costs.iter().fold((f64::MAX, 0.0_f64), |(low, high), &cost| (low.min(cost), high.max(cost)));
    let spread = rounded(100.0 * (most / least - 1.0), 3);
    figures.promise(name, spread, "% from cheapest to dearest", "<= 20", spread <= FLAT);
    Ok(())
}

struct Side {
    name: String,
    host: Host,
    bank: Bank,
    accounts: u64,
    samples: Vec<f64>,
}

impl Side {
    fn new(plan: &Plan, name: &str, accounts: u64, events: u64) -> anyhow::Result<Self> {
        let wasm = rules::compile(&plan.guest("bank-v1.wasm")?, &plan.folder.join("cache"))?;
        // What is resident is the question; how states leave and come back is another.
        let settings = Settings { resident_aggregates_max: 2_000_000, ..settings(1, BATCH) };
        let host = Host::start(&plan.folder.join(name), settings, &rules::book(&wasm))?;
        let mut bank = Bank::new(accounts + events)?;
        drive(&host, bank.opens(0, accounts), 2 * BATCH)?;
        let mut left = (events - 1) * accounts;
        while left > 0 {
            let piece = left.min(200_000);
            drive(&host, bank.deposits_in_turn(accounts, piece), 2 * BATCH)?;
            left -= piece;
        }
        Ok(Self { name: name.to_owned(), host, bank, accounts, samples: Vec::new() })
    }

    fn sample(&mut self) -> anyhow::Result<()> {
        let commands = self.bank.deposits(self.accounts, SAMPLE);
        let before = cpu::of_threads("lane-");
        drive(&self.host, commands, 2 * BATCH)?;
        let spent = cpu::of_threads("lane-") - before;
        self.samples.push(spent.as_secs_f64() * 1e6 / SAMPLE as f64);
        Ok(())
    }
}
