//! The expected version is compared exactly, also when many expect the same one at once.

use anyhow::ensure;
use ordain_checker::history::Ending;
use serde_json::json;
use tokio::task::JoinSet;

use crate::families::asking::{deposit, hand, open, with_status};
use crate::field::Counts;
use crate::hand::Hand;
use crate::stage::Stage;

/// Races of [`RACERS`] clients.
const RACES: u64 = 2_000;
/// Clients that expect the same version.
const RACERS: u64 = 8;

/// Exact, one below, one above, far off, none: at several versions.
pub async fn the_version_check_is_exact(stage: &Stage) -> anyhow::Result<Counts> {
    let mut one = hand(stage, "versions")?;
    let mut checks = 0;
    let absent = with_status(&one.attempt(&deposit("versions", "versions-absent", 1).expecting(1)).await.0?, 409)?;
    ensure!(absent["conflict"] == json!({"expected": 1, "actual": 0}), "{absent}");
    let opened = with_status(&one.attempt(&open("versions").expecting(0)).await.0?, 200)?;
    ensure!(opened["version"] == 1, "{opened}");
    for version in 1..40_u64 {
        for wrong in [0, version - 1, version + 1, version + 2, u64::MAX] {
            let command = deposit("versions", &format!("versions-{version}-{wrong}"), 1).expecting(wrong);
            let said = with_status(&one.attempt(&command).await.0?, if wrong == version { 200 } else { 409 })?;
            ensure!(said["conflict"] == json!({"expected": wrong, "actual": version}), "{said}");
            ensure!(said["version"] == version && said.get("events").is_none(), "{said}");
            checks += 1;
        }
        // Decided at the exact version, also when the rules say no to it, and when nothing is expected.
        let refused = crate::command::Command::new(
            "account",
            "versions",
            &format!("versions-no-{version}"),
            &json!({"Withdraw": {"amount": 1_000_000}}),
        );
        let said = with_status(&one.attempt(&refused.expecting(version)).await.0?, 422)?;
        ensure!(said["rejection"]["code"] == "InsufficientFunds" && said["version"] == version, "{said}");
        let right = deposit("versions", &format!("versions-{version}"), 1);
        let right = if version % 3 == 0 { right } else { right.expecting(version) };
        let said = with_status(&one.attempt(&right).await.0?, 200)?;
        let event = json!([{"version": version + 1, "event": {"Deposited": {"amount": 1}}}]);
        ensure!(said["version"] == version + 1 && said["events"] == event, "{said}");
        checks += 2;
    }
    one.witness.flush()?;
    Ok(Counts::from([("version_checks", checks)]))
}

/// Of many clients that expect the same version exactly one is accepted, and the others learn the true version.
pub async fn one_of_many_wins(stage: &Stage, seed: u64) -> anyhow::Result<Counts> {
    let mut first = hand(stage, "race")?;
    first.decided(&open("race")).await?;
    first.witness.flush()?;
    let mut racers: Vec<Hand> = Vec::new();
    for racer in 0..RACERS {
        racers.push(hand(stage, &format!("race-{racer}"))?);
    }
    for race in 0..RACES {
        let version = race + 1;
        let mut running = JoinSet::new();
        for (racer, mut hand) in racers.drain(..).enumerate() {
            let command = deposit("race", &format!("race-{seed}-{race}-{racer}"), 1).expecting(version);
            running.spawn(async move { (hand.decided(&command).await, hand) });
        }
        let (mut won, mut lost) = (0, 0);
        while let Some(ended) = running.join_next().await {
            let (known, hand) = ended?;
            let known = known?;
            won += u64::from(known.outcome == Ending::Accepted && known.version == version + 1);
            // The checker compares the version that a loser was told with the log.
            lost += u64::from(known.outcome == Ending::Conflict && known.version > version);
            racers.push(hand);
        }
        ensure!((won, lost) == (1, RACERS - 1), "race {race}: {won} won and {lost} lost of {RACERS}");
    }
    for racer in &mut racers {
        racer.witness.flush()?;
    }
    Ok(Counts::from([("races", RACES)]))
}
