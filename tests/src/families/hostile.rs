//! Modules that panic, never come back, or cannot read what is in the log.

mod unreadable;

use anyhow::{Context, ensure};
use ordain_checker::history::Ending;

use super::asking::{deposit, hand, open, with_status, withdraw};
use crate::client::stream::{Feed, Streaming};
use crate::command::Command;
use crate::field::{Counts, Field, kept};
use crate::hand::Hand;
use crate::load::{Load, Shape};
use crate::stage::Stage;
use crate::witness::{Known, Witness};

/// The withdrawal that the hostile modules fall over.
const POISON: u64 = 13;
/// Accounts that get one, by single requests.
const POISONED: u64 = 8;

/// Exactly the command fails that the module falls over; everything else goes on.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut stage = field.stage().await?;
    let mut counts = Counts::new();
    let trap = "no rule for a withdrawal of 13 cents";
    counts.insert("trapped", poisoned(&mut stage, field, "trap", "trap", trap).await?);
    counts.insert("cut_off", poisoned(&mut stage, field, "loop", "timeout", "limit of CPU time").await?);
    counts.extend(unreadable::old_events_that_new_rules_cannot_read(&mut stage, field).await?);
    hand(&stage, "hostile-last")?.read_all().await?;
    ensure!(stage.daemon()?.runs()?, "the daemon ended");
    stage.stop().await?;
    let report = stage.judged()?;
    kept(&report)?;
    counts.insert("commands", report.commands);
    Ok(counts)
}

/// One hostile module at work, with honest commands beside.
async fn poisoned(stage: &mut Stage, field: &Field, version: &str, reason: &str, text: &str) -> anyhow::Result<u64> {
    let rules = field.rules(version)?;
    stage.deploy(&rules).await?;
    let load = Load::start(stage, version, field.seed, Shape::light())?;
    let mut one = hand(stage, &format!("poison-{version}"))?;
    for n in 0..POISONED {
        let id = format!("poison-{version}-{n}");
        one.decided(&open(&id)).await?;
        one.decided(&deposit(&id, &format!("{id}-in"), 1_000)).await?;
        let poison = withdraw(&id, &format!("{id}-poison"), POISON);
        let said = with_status(&one.attempt(&poison).await.0?, 500)?;
        let message = said["failure"]["message"].as_str().unwrap_or_default();
        ensure!(said["outcome"] == "failed" && said["failure"]["reason"] == reason && said["version"] == 2, "{said}");
        ensure!(message.contains(text) && message.contains(&rules.digest), "not {text:?} of {}: {said}", rules.digest);
        // Final: the module is not asked again.
        let again = with_status(&one.attempt(&poison).await.0?, 500)?;
        ensure!(again["replayed"] == true && again["failure"] == said["failure"], "{said}, and then {again}");
        goes_on(&mut one, &id).await?;
    }
    let streamed = among_others(stage, version, reason).await?;
    load.hears(200).await?;
    load.finish().await?;
    stage.deploy(&field.rules("v1")?).await?;
    let id = format!("poison-{version}-0");
    let cured = one.decided(&withdraw(&id, &format!("{id}-cured"), POISON)).await?;
    ensure!(
        cured.outcome == Ending::Accepted,
        "the first version refuses what only the hostile one fell over: {cured:?}"
    );
    one.witness.flush()?;
    Ok(POISONED + streamed)
}

/// The poisoned account decides its next command from the state before.
async fn goes_on(one: &mut Hand, id: &str) -> anyhow::Result<()> {
    let next = one.decided(&withdraw(id, &format!("{id}-next"), POISON + 1)).await?;
    ensure!((next.outcome, next.version) == (Ending::Accepted, 3), "after the failure: {next:?}");
    let seen = one.state(id).await?.context("it never existed")?;
    ensure!(seen["state"]["balance"] == 986 && seen["version"] == 3, "after the failure: {seen}");
    Ok(())
}

/// Poison among the lines of a stream: each costs its own line, whatever account it is for.
async fn among_others(stage: &Stage, version: &str, reason: &str) -> anyhow::Result<u64> {
    const ACCOUNTS: u64 = 20;
    let id = |n: u64| format!("mixed-{version}-{}", n % ACCOUNTS);
    let mut lines: Vec<Command> = (0..ACCOUNTS).map(|n| open(&id(n))).collect();
    for n in 0..400 {
        let command_id = format!("mixed-{version}-{n}");
        let poison = n % 50 == 49;
        lines.push(if poison { withdraw(&id(n), &command_id, POISON) } else { deposit(&id(n), &command_id, 1_000) });
    }
    let name = format!("mixed-{version}");
    let mut witness = Witness::new(&stage.history, &name)?;
    let (mut failed, mut accepted, mut others) = (0, 0, 0);
    let mut note = |command: &Command, known: &Known| {
        let poison = command.command.get() == r#"{"Withdraw":{"amount":13}}"#;
        let as_due = match known.outcome {
            Ending::Failed => poison && known.code.as_deref() == Some(reason),
            Ending::Accepted => !poison,
            _ => false,
        };
        failed += u64::from(as_due && poison);
        accepted += u64::from(as_due && !poison);
        others += u64::from(!as_due);
    };
    let streaming = Streaming { address: *stage.address().borrow(), stream: 0, in_flight: 64, per_second: None };
    streaming.run(&mut Feed::new(lines.into_iter()), &mut witness, &mut note).await?;
    witness.flush()?;
    ensure!((failed, accepted, others) == (8, 412, 0), "{failed} failed, {accepted} accepted, {others} otherwise");
    Ok(failed)
}
