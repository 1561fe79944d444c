//! Whether a command costs the same however many aggregates there are, and however long their histories: CPU time of the
//! lane's thread for each command, one lane. All sizes take turns.

use ordain::message::Command;
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
/// By how much the dearest size may cost more than the cheapest, in percent.
const FLAT: f64 = 20.0;
/// Accounts that get commands while others only exist.
const ACTIVE: u64 = 1_000;

/// Measures at 10³ to 10⁶ aggregates: commands for a thousand of them, and for all of them alike.
pub fn aggregates(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let sample = plan.pick(20_000, 100_000);
    let mut sides = Vec::new();
    for accounts in [1_000, 10_000, 100_000, 1_000_000] {
        let before = cpu::memory_of(std::process::id()).unwrap_or(0);
        let mut side = Side::start(plan, &format!("{accounts}_aggregates"))?;
        side.open(0, accounts)?;
        let after = cpu::memory_of(std::process::id()).unwrap_or(0);
        if accounts == 1_000_000 {
            let bytes = after.saturating_sub(before) as f64;
            figures.tell("memory_1m_aggregates_resident", rounded(bytes / f64::from(1 << 20), 3), "MiB");
            figures.tell("memory_each_resident", rounded(bytes / accounts as f64, 3), "bytes an aggregate");
        }
        sides.push((accounts, side));
    }
    let rounds = plan.pick(5, 15);
    for (name, all_alike) in [("active", false), ("uniform", true)] {
        for _ in 0..rounds {
            for (accounts, side) in &mut sides {
                let among = if all_alike { *accounts } else { ACTIVE };
                let commands = side.bank.deposits(among, sample);
                side.measure(commands)?;
            }
        }
        compare(figures, sides.iter_mut().map(|(_, side)| side), name, &format!("flat_over_aggregates_{name}"));
    }
    // Their last checkpoints would take longer than all of this; the process ends without them.
    std::mem::forget(sides);
    Ok(())
}

/// Measures at 1 to 10⁴ events of each aggregate. The accounts were used just before, one command each, and get one more
/// each: so the same is in the processor's caches at every length. Short histories would become long, so each round
/// opens new accounts for them.
pub fn events(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let rounds = plan.pick(15, 60);
    let accounts = plan.pick(100, 500);
    let lengths = [1, 10, 100, 1_000, 10_000];
    let mut sides = Vec::new();
    for events in lengths {
        let mut side = Side::start(plan, &format!("{events}_events"))?;
        if events > 100 {
            side.grow(0, accounts, events)?;
        }
        sides.push(side);
    }
    for round in 0..rounds {
        for (events, side) in lengths.into_iter().zip(&mut sides) {
            let from = if events > 100 { 0 } else { round * accounts };
            if events > 100 {
                let commands = side.bank.rounds_of_deposits(from, from + accounts, 1);
                drive(&side.host, commands, 2 * BATCH)?;
            } else {
                side.grow(from, from + accounts, events)?;
            }
            let commands = side.bank.rounds_of_deposits(from, from + accounts, 1);
            side.measure(commands)?;
        }
    }
    compare(figures, sides.iter_mut(), "events", "flat_over_events");
    std::mem::forget(sides);
    Ok(())
}

/// Tells the median of each side's samples, and how far apart they are; the samples are gone then.
fn compare<'a>(figures: &mut Figures, sides: impl Iterator<Item = &'a mut Side>, what: &str, name: &str) {
    let mut costs = Vec::new();
    for side in sides {
        let samples = std::mem::take(&mut side.samples);
        // The first one warms.
        let cost = rounded(median(&samples[1..]), 3);
        figures.tell(&format!("cost_{what}_at_{}", side.name), cost, "µs of the lane");
        costs.push(cost);
    }
    let (least, most) = costs.iter().fold((f64::MAX, 0.0_f64), |(low, high), &cost| (low.min(cost), high.max(cost)));
    let spread = rounded(100.0 * (most / least - 1.0), 3);
    figures.promise(name, spread, "% from cheapest to dearest", "<= 20", spread <= FLAT);
}

struct Side {
    name: String,
    host: Host,
    bank: Bank,
    samples: Vec<f64>,
}

impl Side {
    fn start(plan: &Plan, name: &str) -> anyhow::Result<Self> {
        let wasm = rules::compile(&plan.guest("bank-v1.wasm")?, &plan.folder.join("cache"))?;
        let host = Host::start(&plan.folder.join(name), settings(1, BATCH), &rules::book(&wasm))?;
        Ok(Self { name: name.to_owned(), host, bank: Bank::new(1)?, samples: Vec::new() })
    }

    fn open(&mut self, from: u64, to: u64) -> anyhow::Result<()> {
        // In pieces, so that the commands made ahead take little memory.
        for start in (from..to).step_by(100_000) {
            let commands = self.bank.opens(start, to.min(start + 100_000));
            drive(&self.host, commands, 2 * BATCH)?;
        }
        Ok(())
    }

    /// Gives accounts `from..to` so many events.
    fn grow(&mut self, from: u64, to: u64, events: u64) -> anyhow::Result<()> {
        self.open(from, to)?;
        for done in (1..events).step_by(500) {
            let commands = self.bank.rounds_of_deposits(from, to, 500.min(events - done));
            drive(&self.host, commands, 2 * BATCH)?;
        }
        Ok(())
    }

    fn measure(&mut self, commands: Vec<Command>) -> anyhow::Result<()> {
        let count = commands.len() as f64;
        let before = cpu::of_threads("lane-");
        drive(&self.host, commands, 2 * BATCH)?;
        let spent = cpu::of_threads("lane-") - before;
        self.samples.push(spent.as_secs_f64() * 1e6 / count);
        Ok(())
    }
}
