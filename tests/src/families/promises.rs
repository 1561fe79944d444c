//! What the API promises, asked of a real daemon over real connections.

mod ids;
mod later;
mod reads;
mod versions;

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::command::{Command, path_segment};
use crate::field::{Counts, Field, kept};
use crate::hand::Hand;
use crate::stage::Stage;

/// How long `?min_version` may wait here; the default is longer than a test should be.
const STATE_WAIT: Duration = Duration::from_millis(500);

/// Asks for everything once.
///
/// # Errors
/// What was not as promised.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut stage = field.stage().await?;
    let config = field.folder.join("config.toml");
    std::fs::write(&config, format!("[http]\nstate_wait_ms = {}\n", STATE_WAIT.as_millis()))?;
    stage.launch.flags.push(format!("--config={}", config.display()));
    stage.stop().await?;
    stage.start().await?;
    let mut counts = Counts::new();
    counts.extend(ids::known_ids_get_the_first_answer(&mut stage).await?);
    counts.extend(versions::the_version_check_is_exact(&stage).await?);
    counts.extend(versions::one_of_many_wins(&stage, field.seed).await?);
    counts.extend(reads::a_read_shows_what_was_answered(&stage).await?);
    counts.extend(reads::the_past_is_there(&stage).await?);
    counts.extend(reads::pages_hold_everything_once(&stage).await?);
    counts.extend(later::outcomes_can_be_asked_for_later(&stage).await?);
    counts.extend(later::what_is_turned_away_is_not_recorded(&stage).await?);
    Hand::new(&stage.history, "last", stage.address())?.read_all().await?;
    stage.stop().await?;
    let report = stage.judged()?;
    kept(&report)?;
    counts.insert("commands", report.commands);
    Ok(counts)
}

fn hand(stage: &Stage, name: &str) -> anyhow::Result<Hand> {
    Hand::new(&stage.history, name, stage.address())
}

fn open(id: &str) -> Command {
    // An account's id may hold what a command's may not.
    let command_id: String = format!("open-{}", path_segment(id)).chars().take(128).collect();
    Command::new("account", id, &command_id, &json!({"Open": {"owner": "Ada", "overdraft_limit": 0}}))
}

fn deposit(id: &str, command_id: &str, amount: u64) -> Command {
    Command::new("account", id, command_id, &json!({"Deposit": {"amount": amount}}))
}

/// The answer's JSON, if it has the status.
fn with_status(answer: &Answer, status: u16) -> anyhow::Result<Value> {
    ensure!(
        answer.status == status,
        "{} instead of {status}: {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    answer.json()
}

/// The answer's JSON, if it is a problem of this status and name.
fn problem(answer: &Answer, status: u16, name: &str) -> anyhow::Result<Value> {
    let said = with_status(answer, status)?;
    let content_type = answer.headers.get("content-type").map(|value| value.as_bytes().to_vec()).unwrap_or_default();
    ensure!(
        content_type == b"application/problem+json",
        "a problem of type {}",
        String::from_utf8_lossy(&content_type)
    );
    ensure!(said["type"] == format!("urn:ordain:problem:{name}"), "another problem than {name}: {said}");
    ensure!(said["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "a problem without a sentence: {said}");
    Ok(said)
}
