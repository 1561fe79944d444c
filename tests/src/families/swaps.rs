//! Rules are swapped under load, by file and by upload, some of them with a kill in the middle.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::clock;
use crate::command::path_segment;
use crate::dice::Dice;
use crate::field::{Counts, Field, kept};
use crate::hand::{Hand, Pace};
use crate::load::{Load, Shape};
use crate::rules::Rules;
use crate::stage::Stage;

/// Swaps in one run.
const SWAPS: u64 = 100;
/// Of those, swaps with a kill while they happen.
const KILLED: u64 = 10;
/// Accounts whose state is folded a second time under another layout.
const REFOLDED: usize = 100;

/// Nothing lost, nothing doubled, each command decided by one module, in the order of the swaps.
///
/// # Errors
/// What was broken.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut dice = Dice::new(field.seed, "swaps");
    let rules = [field.rules("v1")?, field.rules("v2-fee")?];
    let mut stage = field.stage().await?;
    let pace = Pace { in_flight: 64, per_second: Some(1_000) };
    let shape = Shape { pace, singles: 4, ..Shape::default() };
    let load = Load::start(&stage, "swaps", field.seed, shape)?;
    let mut slowest = Duration::ZERO;
    for swap in 1..=SWAPS {
        let next = &rules[(swap % 2) as usize];
        if swap % (SWAPS / KILLED) == 0 {
            killed(&mut stage, next, &mut dice).await?;
        } else if dice.percent(50) {
            slowest = slowest.max(stage.swap(next).await?);
        } else {
            slowest = slowest.max(stage.deploy(next).await?);
        }
        let pause = dice.ms(0, 100);
        tokio::time::sleep(pause).await;
    }
    let (tally, reads) = load.finish().await?;
    let mut reader = Hand::new(&stage.history, "swaps-last", stage.address())?;
    let accounts = reader.read_all().await?;
    let refolded = another_layout(&mut stage, field, &mut reader).await?;
    reader.read_all().await?;
    stage.stop().await?;
    let report = stage.judged()?;
    kept(&report)?;
    for one in &rules {
        let decided = report.modules.get(&one.digest).map_or(0, |by| by.outcomes.values().sum());
        ensure!(decided * 10 > report.commands, "{} decided only {decided} commands:\n{report}", one.name);
    }
    Ok(Counts::from([
        ("swaps", stage.swaps),
        ("kills_while_swapping", stage.kills),
        ("commands", report.commands),
        ("states_read", reads + accounts),
        ("states_under_another_layout", refolded),
        ("slowest_swap_ms", slowest.as_millis() as u64),
        ("p99_us", tally.latency.value_at_quantile(0.99) / 1_000),
    ]))
}

/// A kill somewhere between the arrival of the file and its deciding everywhere. Afterwards the file is there, so it
/// is the latest arrival, and must come to decide by itself.
async fn killed(stage: &mut Stage, next: &Rules, dice: &mut Dice) -> anyhow::Result<()> {
    stage.begin(next)?;
    let start = clock::now_ns();
    stage.arrive_next(next)?;
    tokio::time::sleep(dice.ms(0, 120)).await;
    stage.kill()?;
    stage.start().await?;
    stage.over(next, start).await?;
    Ok(())
}

/// To a module with another layout of the state and back, under load. Its states are what the events make, and after
/// the way back they are what they were.
async fn another_layout(stage: &mut Stage, field: &Field, reader: &mut Hand) -> anyhow::Result<u64> {
    let shape = Shape { reads: false, ..Shape::light() };
    let load = Load::start(stage, "layout", field.seed, shape)?;
    load.hears(200).await?;
    let third = field.rules("v3")?;
    stage.swap(&third).await?;
    load.hears(500).await?;
    let mut refolded = 0;
    for (id, _) in reader.accounts().await?.into_iter().take(REFOLDED) {
        refolded += u64::from(is_what_events_make(reader, &id, &third).await?);
    }
    stage.deploy(&field.rules("v1")?).await?;
    load.hears(500).await?;
    load.finish().await?;
    Ok(refolded)
}

/// Folds an account's events here and compares. Whether there was something to count.
async fn is_what_events_make(reader: &mut Hand, id: &str, rules: &Rules) -> anyhow::Result<bool> {
    let path = format!("/v1/account/{}", path_segment(id));
    let seen = reader.client().get(&path).await?.json()?;
    let version = seen["version"].as_u64().with_context(|| format!("no version in {seen}"))?;
    let mut state = json!({
        "owner": "", "balance": 0, "overdraft_limit": 0, "status": "none", "deposits": 0, "withdrawals": 0
    });
    let mut folded = 0;
    while folded < version {
        let page = format!("{path}/events?from={}&limit=1000", folded + 1);
        let page = reader.client().get(&page).await?.json()?;
        let events = page["events"].as_array().with_context(|| format!("no events in {page}"))?;
        for event in events.iter().take((version - folded) as usize) {
            fold(&mut state, &event["event"]);
            folded += 1;
        }
    }
    ensure!(seen["module"] == rules.digest.as_str(), "{id} was read under {}: {seen}", rules.name);
    ensure!(seen["state"] == state, "{id}: its {version} events make {state}, and it is said to be {seen}");
    Ok(state["deposits"] != 0 || state["withdrawals"] != 0)
}

fn fold(state: &mut Value, event: &Value) {
    let add = |state: &mut Value, field: &str, amount: i64| {
        state[field] = json!(state[field].as_i64().unwrap_or(0) + amount);
    };
    let amount = |event: &Value| event["amount"].as_i64().unwrap_or(0);
    if let Some(opened) = event.get("Opened") {
        state["owner"] = opened["owner"].clone();
        state["overdraft_limit"] = opened["overdraft_limit"].clone();
        state["status"] = json!("open");
    } else if let Some(deposited) = event.get("Deposited") {
        add(state, "balance", amount(deposited));
        add(state, "deposits", 1);
    } else if let Some(withdrawn) = event.get("Withdrawn") {
        add(state, "balance", -amount(withdrawn));
        add(state, "withdrawals", 1);
    } else if let Some(renamed) = event.get("Renamed") {
        state["owner"] = renamed["owner"].clone();
    } else {
        state["status"] = json!("closed");
    }
}
