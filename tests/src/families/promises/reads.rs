//! Reads: what was answered is seen at once, the past stays, pages hold everything once.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::STATE_WAIT;
use crate::client::Client;
use crate::clock;
use crate::command::Command;
use crate::families::asking::{deposit, hand, open, problem, with_status};
use crate::field::Counts;
use crate::stage::Stage;

/// Another connection sees each version the moment it was answered; `?min_version` waits for one that comes.
pub async fn a_read_shows_what_was_answered(stage: &Stage) -> anyhow::Result<Counts> {
    let (mut writer, mut reader) = (hand(stage, "written")?, hand(stage, "read")?);
    writer.decided(&open("read")).await?;
    let mut reads = 0;
    for n in 2..200_u64 {
        let known = writer.decided(&deposit("read", &format!("read-{n}"), 10)).await?;
        let seen = reader.state("read").await?.context("an account that was just used never existed")?;
        ensure!(known.version == n && seen["version"] == n, "answered version {n}, then read {seen}");
        ensure!(seen["state"]["balance"] == 10 * (n - 1), "{seen}");
        reads += 1;
    }
    let answer = reader.client().get("/v1/account/read").await?;
    ensure!(answer.headers.get("etag").is_some_and(|tag| tag == "\"199\""), "{:?}", answer.headers);
    waits_for_a_version(stage, &mut writer).await?;
    for one in [&mut writer, &mut reader] {
        one.witness.flush()?;
    }
    Ok(Counts::from([("reads_after_answers", reads)]))
}

async fn waits_for_a_version(stage: &Stage, writer: &mut crate::hand::Hand) -> anyhow::Result<()> {
    let mut client = stage.client();
    let at_once = with_status(&client.get("/v1/account/read?min_version=150").await?, 200)?;
    ensure!(at_once["version"] == 199, "{at_once}");
    let start = clock::now_ns();
    problem(&client.get("/v1/account/read?min_version=200").await?, 504, "version-not-reached")?;
    ensure!(clock::since(start) >= STATE_WAIT, "the wait for a version was given up at once");
    let waiting = tokio::spawn(async move { client.get("/v1/account/read?min_version=201").await });
    for n in [200, 201] {
        tokio::time::sleep(STATE_WAIT / 8).await;
        ensure!(!waiting.is_finished(), "a wait for version 201 ended at version {}", n - 1);
        writer.decided(&deposit("read", &format!("read-{n}"), 10)).await?;
    }
    let waited = with_status(&waiting.await??, 200)?;
    ensure!(waited["version"] == 201 && waited["state"]["balance"] == 2_000, "{waited}");
    Ok(())
}

/// Every version of an account, and what lies beyond them.
pub async fn the_past_is_there(stage: &Stage) -> anyhow::Result<Counts> {
    const VERSIONS: u64 = 60;
    let mut one = hand(stage, "past")?;
    one.decided(&open("past")).await?;
    let mut states = vec![json!({"owner": "Ada", "balance": 0, "overdraft_limit": 0, "status": "open"})];
    for n in 2..=VERSIONS {
        let (amount, mut state) = (n * 7, states.last().cloned().unwrap_or_default());
        let (asked, field, value) = match n {
            VERSIONS => (json!({"Close": {}}), "status", json!("closed")),
            n if n % 5 == 0 => {
                (json!({"Rename": {"owner": format!("owner {n}")}}), "owner", json!(format!("owner {n}")))
            }
            _ => (
                json!({"Deposit": {"amount": amount}}),
                "balance",
                json!(state["balance"].as_u64().unwrap_or(0) + amount),
            ),
        };
        one.decided(&Command::new("account", "past", &format!("past-{n}"), &asked)).await?;
        state[field] = value;
        states.push(state);
    }
    one.witness.flush()?;
    let mut client = stage.client();
    for (n, state) in (1..).zip(&states) {
        let seen = with_status(&client.get(&format!("/v1/account/past?version={n}")).await?, 200)?;
        ensure!(
            seen["version"] == n && seen["state"] == *state,
            "version {n} was {state}, now it is said to be {seen}"
        );
    }
    for beyond in [0, VERSIONS + 1, u64::MAX] {
        problem(&client.get(&format!("/v1/account/past?version={beyond}")).await?, 404, "unknown-version")?;
    }
    for bad in ["version=x", "version=-1", "version=1&min_version=1", "vresion=1"] {
        problem(&client.get(&format!("/v1/account/past?{bad}")).await?, 400, "bad-request")?;
    }
    problem(&client.get("/v1/account/nobody").await?, 404, "unknown-aggregate")?;
    problem(&client.get("/v1/account/nobody/events").await?, 404, "unknown-aggregate")?;
    history(&mut client, VERSIONS).await?;
    Ok(Counts::from([("past_states", VERSIONS)]))
}

/// The history in pages of several sizes: every event once, in order, with its command.
async fn history(client: &mut Client, versions: u64) -> anyhow::Result<()> {
    for limit in [1, 7, 60, 61, 1_000] {
        let (mut from, mut seen) = (1, 0);
        loop {
            let path = format!("/v1/account/past/events?from={from}&limit={limit}");
            let page = with_status(&client.get(&path).await?, 200)?;
            ensure!(page["version"] == versions, "{page}");
            for event in page["events"].as_array().context("no events")? {
                seen += 1;
                let command = if seen == 1 { "open-past".to_owned() } else { format!("past-{seen}") };
                ensure!(event["version"] == seen && event["command_id"] == command.as_str(), "event {seen} is {event}");
                ensure!(event["index"] == 1 && event["count"] == 1 && event["event"].is_object(), "{event}");
                ensure!(event["time"].is_string() && event["module"].is_string(), "{event}");
            }
            match page.get("next") {
                Some(next) => {
                    ensure!(*next == seen + 1 && seen + 1 == from + limit, "after {seen} events: {page}");
                    from = seen + 1;
                }
                None => break,
            }
        }
        ensure!(seen == versions, "{seen} events of {versions} in pages of {limit}");
    }
    let beyond = with_status(&client.get("/v1/account/past/events?from=61").await?, 200)?;
    ensure!(beyond["events"] == json!([]) && beyond.get("next").is_none(), "{beyond}");
    for bad in ["from=0", "limit=0", "limit=1001", "form=1"] {
        problem(&client.get(&format!("/v1/account/past/events?{bad}")).await?, 400, "bad-request")?;
    }
    Ok(())
}

/// The list of accounts in pages of several sizes, with ids that are hard to write in a path.
pub async fn pages_hold_everything_once(stage: &Stage) -> anyhow::Result<Counts> {
    let mut one = hand(stage, "pages")?;
    let mut ids: Vec<String> = (0..40).map(|n| format!("page {n}")).collect();
    ids.extend(
        ["page/../x", "page?&=#%", "pagé", "page\u{1f4b6}", "page\"\\", "commands", "events"].map(str::to_owned),
    );
    ids.push("p".repeat(256));
    for id in &ids {
        one.decided(&open(id)).await?;
        let seen = one.state(id).await?.with_context(|| format!("{id} never existed"))?;
        ensure!(seen["id"] == id.as_str(), "asked for {id}, got {seen}");
    }
    let all: BTreeMap<String, u64> = one.accounts().await?.into_iter().collect();
    ensure!(ids.iter().all(|id| all.get(id) == Some(&1)), "the list lacks some of {ids:?}: {all:?}");
    for limit in [1, 3, all.len(), all.len() + 1] {
        let (mut pages, mut after) = (Vec::new(), String::new());
        loop {
            let page = with_status(&one.client().get(&format!("/v1/account?limit={limit}{after}")).await?, 200)?;
            let part = page["aggregates"].as_array().context("no list")?;
            ensure!(part.len() <= limit, "{} of {limit} in a page", part.len());
            pages.extend(part.iter().map(|one| (text(&one["id"]), one["version"].as_u64().unwrap_or(0))));
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={}", crate::command::path_segment(next));
        }
        ensure!(
            pages == all.clone().into_iter().collect::<Vec<_>>(),
            "pages of {limit} hold {pages:?}, all are {all:?}"
        );
    }
    one.witness.flush()?;
    Ok(Counts::from([("accounts_listed", all.len() as u64)]))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
