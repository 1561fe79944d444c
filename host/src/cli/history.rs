//! `ordain history`: the events of one aggregate.

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ask::{print_next_line, problem};
use super::{Ended, Exit, Host, Output, say};
use crate::gateway::percent_encoded;

/// Events that are asked for at once.
const PAGE: u64 = 1000;

/// Options of `ordain history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    host: Host,
    /// Aggregate type.
    #[arg(value_name = "TYPE")]
    aggregate_type: String,
    /// Aggregate id.
    #[arg(value_name = "ID")]
    id: String,
    /// First version.
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// Most events.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

#[derive(Deserialize)]
struct Page<'a> {
    version: u64,
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct Event<'a> {
    version: u64,
    #[serde(borrow)]
    event: &'a RawValue,
    #[serde(borrow)]
    time: &'a RawValue,
    command_id: &'a str,
}

/// Asks page by page and shows each event on a line.
pub(super) async fn run(args: HistoryArgs, output: Output) -> Ended {
    let mut client = args.host.client()?;
    let of = format!("/v1/{}/{}", percent_encoded(&args.aggregate_type), percent_encoded(&args.id));
    let (mut from, mut left) = (args.from, args.limit);
    loop {
        let path = format!("{of}/events?from={from}&limit={}", left.min(PAGE));
        let answer = client.request("GET", &path, &[], "").await?;
        if answer.status != 200 {
            return problem(&answer, output);
        }
        let page: Page<'_> = serde_json::from_slice(&answer.body)?;
        for event in &page.events {
            let reads_on = match output {
                Output::Json => print_next_line(event.get().as_bytes())?,
                Output::Human => print_next_line(line(event.get())?.as_bytes())?,
            };
            if !reads_on {
                return Ok(Exit::Done);
            }
        }
        left = left.saturating_sub(page.events.len() as u64);
        match page.next {
            Some(next) if left > 0 => from = next,
            Some(next) if output == Output::Human => {
                say(format_args!("there are more, up to version {}: --from {next}", page.version));
                return Ok(Exit::Done);
            }
            _ => return Ok(Exit::Done),
        }
    }
}

fn line(event: &str) -> anyhow::Result<String> {
    let Event { version, event, time, command_id } = serde_json::from_str(event)?;
    Ok(format!("{version:>7}  {}  {command_id}  {event}", time.get().trim_matches('"')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event =
            r#"{"version":3,"event":{"Closed":{}},"time":"2026-01-02T03:04:05.678Z","command_id":"c-1","index":1}"#;
        assert_eq!(line(event).unwrap(), "      3  2026-01-02T03:04:05.678Z  c-1  {\"Closed\":{}}");
    }
}
