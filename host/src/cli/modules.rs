//! `ordain modules`: which rules decide, did, and were refused.

use clap::Args;
use serde::Deserialize;

use super::ask::{print_line, problem};
use super::{Ended, Exit, Host, Output};

/// Options of `ordain modules`.
#[derive(Debug, Args)]
pub struct ModulesArgs {
    #[command(flatten)]
    host: Host,
}

#[derive(Deserialize)]
struct Listing {
    types: Vec<OfType>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct OfType {
    #[serde(rename = "type")]
    aggregate_type: String,
    active: String,
    since_ms: i64,
    state_version: u32,
    lanes: Vec<u32>,
    #[serde(default)]
    warnings: Vec<String>,
    former: Vec<String>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    origin: String,
    reason: String,
    at_ms: i64,
}

/// Asks and shows.
pub(super) async fn run(args: ModulesArgs, output: Output) -> Ended {
    let answer = args.host.client()?.request("GET", "/v1/modules", &[], "").await?;
    if answer.status != 200 {
        return problem(&answer, output);
    }
    match output {
        Output::Json => print_line(&answer.body)?,
        Output::Human => print_line(text(&serde_json::from_slice(&answer.body)?).as_bytes())?,
    }
    Ok(Exit::Done)
}

fn text(listing: &Listing) -> String {
    let mut lines = Vec::new();
    for of in &listing.types {
        let lanes = of.lanes.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        lines.push(format!("{}  state version {}", of.aggregate_type, of.state_version));
        lines.push(format!("  active   {}  since {}  lanes {lanes}", of.active, time(of.since_ms)));
        lines.extend(of.former.iter().map(|digest| format!("  former   {digest}")));
        lines.extend(of.warnings.iter().map(|warning| format!("  warning  {warning}")));
        lines.extend(of.refused.iter().map(refused));
    }
    lines.extend(listing.refused.iter().map(refused));
    if lines.is_empty() {
        lines.push(
            "no modules yet: deploy one with `ordain deploy FILE.wasm`, or copy it into the modules folder".into(),
        );
    }
    lines.join("\n")
}

fn refused(one: &Refused) -> String {
    format!("  refused  {}  at {}: {}", one.origin, time(one.at_ms), one.reason)
}

/// A time for people, in UTC to the second.
fn time(ms: i64) -> String {
    let since = std::time::Duration::from_millis(ms.max(0) as u64).min(std::time::Duration::from_secs(253_402_300_799));
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_shown_with_what_was_refused_and_why() {
        let listing = r#"{"types":[{"type":"account","active":"sha256:aa","since_ms":0,"state_version":2,"lanes":[0,1],
            "former":["sha256:bb"],"refused":[{"digest":null,"origin":"x.wasm","rule":"size","reason":"it is too big","at_ms":1000}]}],
            "refused":[]}"#;
        let shown = text(&serde_json::from_str(listing).unwrap());
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines,
            [
                "account  state version 2",
                "  active   sha256:aa  since 1970-01-01T00:00:00Z  lanes 0, 1",
                "  former   sha256:bb",
                "  refused  x.wasm  at 1970-01-01T00:00:01Z: it is too big",
            ]
        );
        assert!(text(&Listing { types: vec![], refused: vec![] }).contains("ordain deploy"));
    }
}
