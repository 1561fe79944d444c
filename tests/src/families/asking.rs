//! Commands and answers as several families need them.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::command::{Command, path_segment};
use crate::hand::Hand;
use crate::stage::Stage;

/// A client with a record of its own.
///
/// # Errors
/// If the record cannot be opened.
pub fn hand(stage: &Stage, name: &str) -> anyhow::Result<Hand> {
    Hand::new(&stage.history, name, stage.address())
}

/// Opens an account for Ada.
pub fn open(id: &str) -> Command {
    // An account's id may hold what a command's may not.
    let command_id: String = format!("open-{}", path_segment(id)).chars().take(128).collect();
    Command::new("account", id, &command_id, &json!({"Open": {"owner": "Ada", "overdraft_limit": 0}}))
}

/// Pays in.
pub fn deposit(id: &str, command_id: &str, amount: u64) -> Command {
    Command::new("account", id, command_id, &json!({"Deposit": {"amount": amount}}))
}

/// The answer's JSON, if it has the status.
///
/// # Errors
/// It has another, or is no JSON.
pub fn with_status(answer: &Answer, status: u16) -> anyhow::Result<Value> {
    ensure!(
        answer.status == status,
        "{} instead of {status}: {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    answer.json()
}

/// The answer's JSON, if it is a problem of this status and name.
///
/// # Errors
/// It is another one, or none.
pub fn problem(answer: &Answer, status: u16, name: &str) -> anyhow::Result<Value> {
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

/// Pays out.
pub fn withdraw(id: &str, command_id: &str, amount: u64) -> Command {
    Command::new("account", id, command_id, &json!({"Withdraw": {"amount": amount}}))
}
