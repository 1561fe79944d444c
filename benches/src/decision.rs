//! One decision (decode the command, decide, encode the events, evolve, copy them out) in Wasm and natively: the same
//! Rust, the same MessagePack in and out, the state resident on both sides. CPU time of the deciding thread.

use anyhow::ensure;
use ledger::{Command, Ledger};
use ordain::decider::native::Native;
use ordain::decider::{Decider, Form, Rules, Verdict};
use ordain_sdk::contract::Context;
use ordain_tests::figures::Figures;

use crate::cpu;
use crate::plan::Plan;
use crate::rounds::{median, ratio, rounded};
use crate::rules;

/// Aggregates that take turns.
const AGGREGATES: u32 = 256;
/// Decisions between two looks at the clock.
const SAMPLE: u32 = 20_000;
/// Bytes a state may differ from the size it is called by.
const TOLERANCE: f64 = 0.1;

/// Measures.
pub fn run(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let wasm = rules::compile(&plan.guest("ledger.wasm")?, &plan.folder.join("cache"))?;
    for (name, bytes) in [("200b", 200), ("2kb", 2_000), ("20kb", 20_000)] {
        let ring = ring_for(bytes)?;
        let mut native = Side::new(Box::new(Native::<Ledger>::default()), ring)?;
        let mut guest = Side::new(wasm.instantiate()?, ring)?;
        native.agrees_with(&mut guest)?;
        let (mut natively, mut in_wasm) = (Vec::new(), Vec::new());
        for _ in 0..plan.pick(15, 60) {
            natively.push(native.sample()?);
            in_wasm.push(guest.sample()?);
        }
        let ratio = rounded(ratio(&in_wasm, &natively), 3);
        figures.tell(&format!("decide_native_{name}"), rounded(median(&natively), 3), "ns");
        figures.tell(&format!("decide_wasm_{name}"), rounded(median(&in_wasm), 3), "ns");
        figures.promise(&format!("decide_wasm_to_native_{name}"), ratio, "x", "<= 2.5", ratio <= 2.5);
    }
    Ok(())
}

/// Length of the ring with which a state has about so many bytes.
fn ring_for(bytes: usize) -> anyhow::Result<u32> {
    let size = |ring| -> anyhow::Result<usize> {
        let mut side = Side::new(Box::new(Native::<Ledger>::default()), ring)?;
        // Every booking of the ring is one of ours then.
        for _ in 0..(ring + 1) * AGGREGATES {
            side.decide()?;
        }
        side.state_bytes()
    };
    let (none, many) = (size(1)?, size(201)?);
    let each = (many - none) as f64 / 200.0;
    let ring = (bytes.saturating_sub(none) as f64 / each).round() as u32 + 1;
    let got = size(ring)?;
    let off = (got as f64 - bytes as f64).abs() / bytes as f64;
    ensure!(off <= TOLERANCE, "a ring of {ring} bookings makes a state of {got} bytes, {bytes} were wanted");
    Ok(ring)
}

/// One decider with its aggregates.
struct Side {
    decider: Box<dyn Decider>,
    commands: [Vec<u8>; 2],
    ids: Vec<String>,
    turn: u32,
    out: Vec<u8>,
}

impl Side {
    fn new(mut decider: Box<dyn Decider>, ring: u32) -> anyhow::Result<Self> {
        let memo = || "invoice 4711".to_owned();
        let commands =
            [Command::Deposit { amount: 500, memo: memo() }, Command::Withdraw { amount: 500, memo: memo() }];
        let open = rmp_serde::to_vec_named(&Command::Open { owner: "Ada Lovelace".to_owned(), ring })?;
        let ids: Vec<String> = (0..AGGREGATES).map(|n| format!("ledger-{n:08}")).collect();
        let mut out = Vec::new();
        for (slot, id) in ids.iter().enumerate() {
            decider.load(slot as u32, &[])?;
            let verdict = decider.decide(slot as u32, &context(id), &open, &mut out)?;
            ensure!(verdict == Verdict::Accepted { count: 1 }, "an account was not opened: {verdict:?}");
        }
        let encode = |command: &Command| rmp_serde::to_vec_named(command);
        Ok(Self { decider, commands: [encode(&commands[0])?, encode(&commands[1])?], ids, turn: 0, out })
    }

    /// Deposits and withdraws in turns, one account after the other.
    fn decide(&mut self) -> anyhow::Result<()> {
        let slot = self.turn % AGGREGATES;
        let command = &self.commands[(self.turn / AGGREGATES % 2) as usize];
        let verdict = self.decider.decide(slot, &context(&self.ids[slot as usize]), command, &mut self.out)?;
        ensure!(verdict == Verdict::Accepted { count: 1 }, "a booking was not accepted: {verdict:?}");
        self.turn = self.turn.wrapping_add(1);
        Ok(())
    }

    /// Nanoseconds of CPU time of a decision.
    fn sample(&mut self) -> anyhow::Result<f64> {
        let start = cpu::of_this_thread();
        for _ in 0..SAMPLE {
            self.decide()?;
        }
        Ok((cpu::of_this_thread() - start).as_nanos() as f64 / f64::from(SAMPLE))
    }

    fn state_bytes(&mut self) -> anyhow::Result<usize> {
        self.decider.snapshot(0, Form::Compact, &mut self.out)?;
        Ok(self.out.len())
    }

    /// A comparison is worth nothing unless both do the same.
    fn agrees_with(&mut self, other: &mut Self) -> anyhow::Result<()> {
        for _ in 0..4 * AGGREGATES {
            self.decide()?;
            other.decide()?;
            ensure!(self.out == other.out, "native and Wasm decide differently");
        }
        for slot in 0..AGGREGATES {
            self.decider.snapshot(slot, Form::Compact, &mut self.out)?;
            other.decider.snapshot(slot, Form::Compact, &mut other.out)?;
            ensure!(self.out == other.out, "native and Wasm have different states");
        }
        Ok(())
    }
}

fn context(id: &str) -> Context<'_> {
    Context {
        time_ms: 1_790_000_000_000,
        version: 7,
        aggregate_id: id,
        command_id: "0198c0de-0000-7000-8000-000000000001",
        correlation_id: "",
        metadata: &[],
    }
}
