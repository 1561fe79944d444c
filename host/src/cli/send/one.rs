//! One command and its outcome.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::SendArgs;
use crate::cli::ask::{print_line, problem};
use crate::cli::{Ended, Exit, Output, say};
use crate::gateway::client::Answer;
use crate::gateway::percent_encoded;
use crate::message::CommandId;

/// The outcome as people read it.
#[derive(Debug, Deserialize)]
struct Outcome<'a> {
    command_id: &'a str,
    outcome: &'a str,
    version: u64,
    #[serde(borrow, default)]
    events: Vec<Event<'a>>,
    #[serde(borrow)]
    rejection: Option<Rejection<'a>>,
    conflict: Option<Conflict>,
    failure: Option<Failure>,
    #[serde(default)]
    replayed: bool,
}

#[derive(Debug, Deserialize)]
struct Event<'a> {
    version: u64,
    #[serde(borrow)]
    event: &'a RawValue,
}

#[derive(Debug, Deserialize)]
struct Rejection<'a> {
    code: Option<String>,
    #[serde(borrow)]
    details: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Conflict {
    expected: u64,
    actual: u64,
}

#[derive(Debug, Deserialize)]
struct Failure {
    reason: String,
    message: String,
}

/// Sends it and shows the outcome.
pub async fn send(args: &SendArgs, output: Output) -> Ended {
    let (Some(of), Some(id), Some(command)) = (&args.aggregate_type, &args.id, &args.command) else {
        anyhow::bail!("name TYPE, ID and JSON, or a file with --file");
    };
    let command_id = match &args.command_id {
        Some(id) => CommandId::parse(id)?,
        None => CommandId::fresh(),
    };
    let expected = args.expect.map(|version| format!("\"{version}\""));
    let mut headers = vec![("content-type", "application/json"), ("idempotency-key", command_id.as_str())];
    headers.extend(expected.as_deref().map(|tag| ("if-match", tag)));
    headers.extend(args.correlation_id.as_deref().map(|id| ("x-correlation-id", id)));
    let path = format!("/v1/{}/{}/commands", percent_encoded(of), percent_encoded(id));
    let answer = args.host.client()?.request("POST", &path, &headers, command.clone().into_bytes()).await;
    match answer {
        Ok(answer) => show(&answer, output),
        Err(error) if error.unsent => Err(error.into()),
        Err(error) => {
            say(format_args!(
                "ordain: {error}\nSend it again with --command-id {command_id}: it is then decided once."
            ));
            Ok(Exit::Unknown)
        }
    }
}

/// Shows an outcome, or the problem that came instead.
///
/// # Errors
/// Standard output is closed.
pub fn show(answer: &Answer, output: Output) -> Ended {
    let Ok(outcome) = serde_json::from_slice::<Outcome<'_>>(&answer.body) else { return problem(answer, output) };
    match output {
        Output::Json => print_line(&answer.body)?,
        Output::Human => print_line(text(&outcome).as_bytes())?,
    }
    Ok(exit(outcome.outcome))
}

fn exit(word: &str) -> Exit {
    match word {
        "accepted" => Exit::Done,
        "rejected" => Exit::Rejected,
        "conflict" => Exit::Conflict,
        "failed" => Exit::Failed,
        _ => Exit::Unknown,
    }
}

fn text(outcome: &Outcome<'_>) -> String {
    let mut text = format!("{}, version {}", outcome.outcome, outcome.version);
    if let Some(Rejection { code, details }) = &outcome.rejection {
        text.push_str(&format!(": {}", code.as_deref().unwrap_or("no code")));
        text.push_str(&details.map(|details| format!(" {details}")).unwrap_or_default());
    }
    if let Some(Conflict { expected, actual }) = outcome.conflict {
        text.push_str(&format!(": expected version {expected}, found {actual}"));
    }
    if let Some(Failure { reason, message }) = &outcome.failure {
        text.push_str(&format!(": {reason}: {message}"));
    }
    if outcome.replayed {
        text.push_str(" (the first answer to this command id)");
    }
    text.push_str(&format!("\n  command {}", outcome.command_id));
    for event in &outcome.events {
        text.push_str(&format!("\n  {:>7} {}", event.version, event.event));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_shown_in_words() {
        let json = r#"{"command_id":"c-1","type":"account","id":"a","outcome":"accepted","version":2,
            "events":[{"version":2,"event":{"Deposited":{"amount":5}}}],"module":"sha256:00","replayed":true}"#;
        let shown = text(&serde_json::from_str(json).unwrap());
        assert_eq!(
            shown,
            "accepted, version 2 (the first answer to this command id)\n  command c-1\n        2 {\"Deposited\":{\"amount\":5}}"
        );
        let json = r#"{"command_id":"c","outcome":"rejected","version":2,"rejection":{"code":"Closed"}}"#;
        assert_eq!(text(&serde_json::from_str(json).unwrap()), "rejected, version 2: Closed\n  command c");
    }

    #[test]
    fn each_outcome_has_its_exit_code() {
        let codes = ["accepted", "rejected", "conflict", "failed", "?"].map(|word| exit(word) as u8);
        assert_eq!(codes, [0, 2, 3, 4, 5]);
    }
}
