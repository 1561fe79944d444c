//! `kill -9` at random moments under load, a quarter of them while it comes back from the one before.

mod calls;

use std::time::Duration;

use anyhow::ensure;

use crate::dice::Dice;
use crate::field::{Counts, Field, kept};
use crate::hand::Hand;
use crate::load::{Load, Shape};

/// Kills in one run.
const KILLS: u64 = 40;
/// Kills in a row that hit the recovery, once in each run: more than the starts after which the state store, which has
/// no way to tell a kill from a crash of its own, is made anew.
const IN_A_ROW: u64 = 5;

/// Nothing acknowledged may be lost, nothing doubled, every command has one answer, versions are gapless.
///
/// # Errors
/// What was broken.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut counts = at_random(field).await?;
    counts.extend(calls::at_calls(&field.part("calls")).await?);
    Ok(counts)
}

async fn at_random(field: &Field) -> anyhow::Result<Counts> {
    let mut dice = Dice::new(field.seed, "kills");
    let mut stage = field.stage().await?;
    // Small rounds, so that checkpoints are written between two kills, and are hit by some.
    let often = "[state]\ncheckpoint_aggregates = 20\ncheckpoint_interval_ms = 100\n[log]\nsegment_bytes = 8388608\n";
    std::fs::write(field.folder.join("config.toml"), often)?;
    stage.launch.flags.push(format!("--config={}", field.folder.join("config.toml").display()));
    stage.stop().await?;
    let mut took = stage.start().await?;
    let load = Load::start(&stage, "kills", field.seed, Shape::default())?;
    let (mut under_load, mut in_recovery, mut slowest) = (0, 0, Duration::ZERO);
    while under_load + in_recovery < KILLS || in_recovery * 4 < KILLS {
        tokio::time::sleep(dice.ms(50, 500)).await;
        let unanswered = load.in_flight();
        stage.kill()?;
        under_load += u64::from(unanswered > 0);
        let in_a_row = if under_load == KILLS / 2 { IN_A_ROW } else { u64::from(dice.percent(35)) };
        for _ in 0..in_a_row {
            let after = dice.ms(0, took.as_millis() as u64 + 1);
            in_recovery += u64::from(stage.start_and_kill(after).await?);
        }
        took = stage.start().await?;
        slowest = slowest.max(took);
    }
    let (tally, reads) = load.finish().await?;
    let mut reader = Hand::new(&stage.history, "kills-last", stage.address())?;
    let accounts = reader.read_all().await?;
    stage.stop().await?;
    let report = stage.judged()?;
    kept(&report)?;
    let rebuilt = std::fs::read_to_string(&stage.launch.output)?.matches("state store").count() as u64;
    ensure!(tally.unknown > 0 && tally.replayed > 0, "no kill hit a command on its way: {tally:?}");
    ensure!(report.outcomes.get("conflict").is_some_and(|&n| n * 20 > report.commands), "too few conflicts:\n{report}");
    Ok(Counts::from([
        ("kills", under_load),
        ("kills_in_recovery", in_recovery),
        ("commands", report.commands),
        ("attempts_without_answer", tally.unknown),
        ("answers_given_again", tally.replayed),
        ("states_read", reads + accounts),
        ("slowest_restart_ms", slowest.as_millis() as u64),
        ("lines_about_the_store", rebuilt),
    ]))
}
