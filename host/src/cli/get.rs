//! `ordain get`: the state of one aggregate, or which aggregates there are.

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ask::{print_line, problem};
use super::{Ended, Exit, Host, Output};
use crate::gateway::percent_encoded;

/// Options of `ordain get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    #[command(flatten)]
    host: Host,
    /// Aggregate type.
    #[arg(value_name = "TYPE")]
    aggregate_type: String,
    /// Aggregate id; without it, the type's aggregates are listed.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// The state as it was at this version.
    #[arg(long, value_name = "N", requires = "id", conflicts_with = "min_version")]
    version: Option<u64>,
    /// Wait until the aggregate has this version.
    #[arg(long, value_name = "N", requires = "id")]
    min_version: Option<u64>,
    /// List what comes after this id.
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    after: Option<String>,
    /// List at most this many.
    #[arg(long, value_name = "N", conflicts_with = "id", default_value_t = 100)]
    limit: usize,
}

#[derive(Deserialize)]
struct State<'a> {
    version: u64,
    #[serde(borrow)]
    state: &'a RawValue,
    module: &'a str,
}

#[derive(Deserialize)]
struct List {
    aggregates: Vec<Listed>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    version: u64,
}

/// Asks and shows.
pub(super) async fn run(args: GetArgs, output: Output) -> Ended {
    let of = percent_encoded(&args.aggregate_type);
    let path = match (&args.id, args.version, args.min_version) {
        (Some(id), Some(version), _) => format!("/v1/{of}/{}?version={version}", percent_encoded(id)),
        (Some(id), None, Some(version)) => format!("/v1/{of}/{}?min_version={version}", percent_encoded(id)),
        (Some(id), None, None) => format!("/v1/{of}/{}", percent_encoded(id)),
        (None, ..) => {
            let after = args.after.as_deref().map(|id| format!("&after={}", percent_encoded(id))).unwrap_or_default();
            format!("/v1/{of}?limit={}{after}", args.limit)
        }
    };
    let answer = args.host.client()?.request("GET", &path, &[], "").await?;
    if answer.status != 200 {
        return problem(&answer, output);
    }
    let text = match (output, &args.id) {
        (Output::Json, _) => answer.body.to_vec(),
        (Output::Human, Some(id)) => state_text(&args.aggregate_type, id, &answer.body)?.into_bytes(),
        (Output::Human, None) => list_text(&args.aggregate_type, &answer.body)?.into_bytes(),
    };
    print_line(&text)?;
    Ok(Exit::Done)
}

fn state_text(of: &str, id: &str, body: &[u8]) -> anyhow::Result<String> {
    let State { version, state, module } = serde_json::from_slice(body)?;
    let state: serde_json::Value = serde_json::from_str(state.get())?;
    Ok(format!("{of} {id}, version {version}, folded by {module}\n{state:#}"))
}

fn list_text(of: &str, body: &[u8]) -> anyhow::Result<String> {
    let List { aggregates, next } = serde_json::from_slice(body)?;
    let mut text: Vec<String> = aggregates.iter().map(|one| format!("{:>10}  {}", one.version, one.id)).collect();
    text.insert(0, format!("{:>10}  {of}", "version"));
    text.extend(next.map(|id| format!("there are more: --after '{id}'")));
    Ok(text.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_and_a_list_are_shown_in_words() {
        let state = br#"{"type":"account","id":"a","version":3,"state":{"balance":5},"module":"sha256:00"}"#;
        let shown = state_text("account", "a", state).unwrap();
        assert_eq!(shown, "account a, version 3, folded by sha256:00\n{\n  \"balance\": 5\n}");
        let list = br#"{"type":"account","aggregates":[{"id":"a","version":3}],"next":"a"}"#;
        let shown = list_text("account", list).unwrap();
        assert_eq!(shown, "   version  account\n         3  a\nthere are more: --after 'a'");
    }
}
