//! A module whose events have a new field without a default: no deposit of before can be read any more.
//!
//! The self-check at activation refuses it if a deposit is among the accounts that were busy lately. If it is not, the
//! module gets in: states move over in their snapshots, because the state's layout is the same, and go on. Only an
//! account that must be built from its events shows the fault: it is quarantined, by itself, and no event is skipped.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::command::Command;
use crate::families::asking::{deposit, hand, open, problem, with_status};
use crate::field::{Counts, Field};
use crate::hand::Hand;
use crate::stage::Stage;

/// Accounts with a deposit, and accounts without.
const ACCOUNTS: u64 = 12;
/// More single commands than a lane keeps blocks of to try new rules on, so that only these are tried.
const QUIET_COMMANDS: u64 = 400;

/// Refused where it shows, quarantined where it does not, and freed by the way back.
pub async fn old_events_that_new_rules_cannot_read(stage: &mut Stage, field: &Field) -> anyhow::Result<Counts> {
    let rules = field.rules("v4")?;
    let mut one = hand(stage, "unreadable")?;
    for n in 0..ACCOUNTS {
        one.decided(&open(&format!("rich-{n}"))).await?;
        one.decided(&open(&format!("quiet-{n}"))).await?;
        one.decided(&deposit(&format!("rich-{n}"), &format!("rich-{n}-in"), 500 + n)).await?;
    }
    let body = rules.bytes.to_vec();
    let refused = problem(&one.client().post("/v1/modules", &[], body.clone().into()).await?, 422, "module-refused")?;
    let why = refused["detail"].as_str().unwrap_or_default().to_owned();
    ensure!(why.contains("branch"), "the refusal does not name the field that is missing: {refused}");
    let listed = stage.listed().await;
    let of_type = listed["refused"].as_array().context("no refusals")?;
    ensure!(of_type.iter().any(|one| one["digest"] == rules.digest.as_str()), "the refusal is not listed: {listed}");
    let first = field.rules("v1")?;
    ensure!(listed["active"] == first.digest.as_str(), "the first version should go on: {listed}");

    for n in 0..QUIET_COMMANDS {
        let owner = json!({"Rename": {"owner": format!("owner {n}")}});
        let id = format!("quiet-{}", n % ACCOUNTS);
        one.decided(&Command::new("account", &id, &format!("quiet-rename-{n}"), &owner)).await?;
    }
    stage.deploy(&rules).await.context("only quiet accounts were busy lately")?;
    // What is resident came over as a snapshot.
    for n in 0..ACCOUNTS {
        let seen = one.state(&format!("rich-{n}")).await?.context("it never existed")?;
        ensure!(seen["state"]["balance"] == 500 + n && seen["version"] == 2, "{seen}");
    }
    // Without store, every state is built from its events.
    stage.stop().await?;
    std::fs::remove_dir_all(stage.data().join("store"))?;
    stage.start().await?;
    let quarantined = exactly_the_rich(&mut one).await?;
    stage.deploy(&first).await?;
    freed(&mut one).await?;
    one.witness.flush()?;
    Ok(Counts::from([("quarantined_and_freed", quarantined)]))
}

async fn exactly_the_rich(one: &mut Hand) -> anyhow::Result<u64> {
    for n in 0..ACCOUNTS {
        let id = format!("rich-{n}");
        let state = one.client().get(&format!("/v1/account/{id}")).await?;
        let said = problem(&state, 500, "broken")?;
        ensure!(said["detail"].as_str().is_some_and(|why| why.contains("branch")), "{said}");
        let outcome = failed(&one.attempt(&deposit(&id, &format!("{id}-locked"), 1)).await.0?)?;
        ensure!(outcome["failure"]["reason"] == "quarantined" && outcome["version"] == 2, "{outcome}");
        // The events themselves can be read.
        let history = with_status(&one.client().get(&format!("/v1/account/{id}/events")).await?, 200)?;
        ensure!(
            history["version"] == 2 && history["events"][1]["event"]["Deposited"]["amount"] == 500 + n,
            "{history}"
        );
        let quiet = format!("quiet-{n}");
        let other = one.decided(&deposit(&quiet, &format!("{quiet}-in"), 7)).await?;
        ensure!(other.code.is_none(), "{quiet} has no deposit of before: {other:?}");
        let seen = one.state(&quiet).await?.context("it never existed")?;
        ensure!(seen["state"]["balance"] == 7, "{seen}");
    }
    let new = "rich-new";
    one.decided(&open(new)).await?;
    let known = one.decided(&deposit(new, "rich-new-in", 9)).await?;
    ensure!(known.version == 2 && known.code.is_none(), "{known:?}");
    Ok(ACCOUNTS)
}

fn failed(answer: &Answer) -> anyhow::Result<Value> {
    let said = with_status(answer, 500)?;
    ensure!(said["outcome"] == "failed", "{said}");
    Ok(said)
}

/// With rules that can read everything, the accounts are there as they were.
async fn freed(one: &mut Hand) -> anyhow::Result<()> {
    for n in 0..ACCOUNTS {
        let id = format!("rich-{n}");
        let seen = one.state(&id).await?.context("it never existed")?;
        ensure!(seen["state"]["balance"] == 500 + n && seen["version"] == 2, "{seen}");
        let known = one.decided(&deposit(&id, &format!("{id}-free"), 1)).await?;
        ensure!(known.version == 3 && known.code.is_none(), "{known:?}");
        // A failure is final for its command id, also when its reason is gone.
        let again = failed(&one.attempt(&deposit(&id, &format!("{id}-locked"), 1)).await.0?)?;
        ensure!(again["replayed"] == true && again["failure"]["reason"] == "quarantined", "{again}");
    }
    Ok(())
}
