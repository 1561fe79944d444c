//! Outcomes that are asked for later, and what gets none because nothing was recorded.

use anyhow::{Context, ensure};
use ordain_checker::history::Ending;
use serde_json::json;

use crate::client::stream::{Feed, Streaming};
use crate::clock;
use crate::command::Command;
use crate::families::asking::{deposit, hand, open, problem, with_status};
use crate::field::Counts;
use crate::stage::Stage;
use crate::witness::Witness;

/// More commands than an account remembers the ids of.
const MANY: u64 = 1_200;

/// `Prefer: respond-async` names the place where the outcome is, and it is there as long as the log is: also when the
/// account has long forgotten the id.
pub async fn outcomes_can_be_asked_for_later(stage: &Stage) -> anyhow::Result<Counts> {
    let mut one = hand(stage, "later")?;
    one.decided(&open("later")).await?;
    let asked = deposit("later", "later/1?of%2Fmany#\"", 17);
    let (mut places, prefer) = (Vec::new(), [("prefer", "respond-async")]);
    let refused = Command::new("account", "later", "later-no", &json!({"Withdraw": {"amount": 1_000_000}}));
    for (command, outcome) in [(&asked, "accepted"), (&refused, "rejected"), (&refused.clone(), "rejected")] {
        let invoke = clock::now_ns();
        let answer = one.client().send_with(command, &prefer).await;
        one.witness.note_answer(command, invoke, &answer);
        let answer = answer?;
        let taken = with_status(&answer, 202)?;
        ensure!(taken == json!({"command_id": *command.command_id}), "{taken}");
        let place = answer.headers.get("location").context("no Location")?.to_str()?.to_owned();
        let later = with_status(&one.client().get(&place).await?, 200)?;
        ensure!(later["outcome"] == outcome && later["command_id"] == *command.command_id, "{later}");
        // Asked again, so that the checker sees an answer.
        let same = with_status(&one.attempt(command).await.0?, if outcome == "accepted" { 200 } else { 422 })?;
        ensure!(same["replayed"] == true && same["version"] == later["version"], "{later} and then {same}");
        places.push((place, later));
    }
    let mut witness = Witness::new(&stage.history, "later-many")?;
    let many = (0..MANY).map(|n| deposit("later", &format!("later-many-{n}"), 1));
    let streaming = Streaming { address: *stage.address().borrow(), stream: 0, in_flight: 256, per_second: None };
    let mut accepted = 0;
    let mut count =
        |_: &Command, known: &crate::witness::Known| accepted += u64::from(known.outcome == Ending::Accepted);
    streaming.run(&mut Feed::new(many), &mut witness, &mut count).await?;
    witness.flush()?;
    ensure!(accepted == MANY, "{accepted} of {MANY} deposits were accepted");
    for (place, before) in &places {
        let now = with_status(&one.client().get(place).await?, 200)?;
        ensure!(now["events"] == before["events"] && now["outcome"] == before["outcome"], "{before} became {now}");
        ensure!(now["version"] == before["version"], "{before} became {now}");
    }
    for n in [0, MANY / 2, MANY - 1] {
        let now = with_status(&one.client().get(&format!("/v1/account/later/commands/later-many-{n}")).await?, 200)?;
        ensure!(now["outcome"] == "accepted" && now["version"] == n + 3, "{now}");
    }
    problem(&one.client().get("/v1/account/later/commands/never").await?, 404, "unknown-command")?;
    problem(&one.client().get("/v1/account/nobody/commands/never").await?, 404, "unknown-command")?;
    one.witness.flush()?;
    Ok(Counts::from([("outcomes_later", places.len() as u64 + 3)]))
}

/// Unknown types, bodies that are no JSON, ids that are none, too large a body: the checker would find a trace of them in
/// the log, because no client wrote them down as sent.
pub async fn what_is_turned_away_is_not_recorded(stage: &Stage) -> anyhow::Result<Counts> {
    let mut client = stage.client();
    let json = [("content-type", "application/json")];
    let mut turned_away = 0;
    let close = r#"{"Close":{}}"#;
    for (path, body, status, name) in [
        ("/v1/nothing/a/commands", close, 404, "unknown-type"),
        ("/v1/Account/a/commands", close, 404, "unknown-type"),
        ("/v1/account/turned/commands", "", 400, "not-json"),
        ("/v1/account/turned/commands", "{\"Close\":{}", 400, "not-json"),
        ("/v1/account/turned/commands", "{\"Close\":{}} {}", 400, "not-json"),
        ("/v1/account/turned%00/commands", close, 400, "bad-request"),
    ] {
        let answer = client.post(path, &json, body.as_bytes().to_vec().into()).await?;
        problem(&answer, status, name)?;
        turned_away += 1;
    }
    let long = "x".repeat(257);
    for bad in
        [("idempotency-key", "with space"), ("if-match", "3"), ("if-none-match", "\"3\""), ("x-correlation-id", &long)]
    {
        let answer = client.post("/v1/account/turned/commands", &[bad], close.as_bytes().to_vec().into()).await?;
        problem(&answer, 400, "bad-request")?;
        turned_away += 1;
    }
    let large = format!("{{\"Rename\":{{\"owner\":\"{}\"}}}}", "x".repeat(1 << 20));
    problem(&client.post("/v1/account/turned/commands", &json, large.into()).await?, 413, "too-large")?;
    for path in ["/v1/nothing/a", "/v1/nothing", "/v1/nothing/a/events"] {
        problem(&client.get(path).await?, 404, "unknown-type")?;
    }
    problem(&client.get("/v1/account/turned").await?, 404, "unknown-aggregate")?;
    turned_away += streamed(stage).await?;
    Ok(Counts::from([("turned_away", turned_away)]))
}

/// Bad lines in a stream cost their own line only.
async fn streamed(stage: &Stage) -> anyhow::Result<u64> {
    let good = deposit("later", "turned-good", 1);
    let mut lines = Vec::new();
    for bad in [
        r#"{"type":"nothing","id":"a","command":{"Close":{}}}"#,
        r#"{"type":"account","id":"","command":{"Close":{}}}"#,
        r#"{"type":"account","id":"turned","command":}"#,
        r#"{"type":"account","id":"turned","command":{"Close":{}},"expectedVersion":3}"#,
        "not even JSON",
    ] {
        lines.extend_from_slice(bad.as_bytes());
        lines.push(b'\n');
    }
    good.write_line(&mut lines);
    let ndjson = [("content-type", "application/x-ndjson")];
    let (mut one, invoke) = (hand(stage, "turned")?, clock::now_ns());
    let answer = one.client().post("/v1/commands", &ndjson, lines.into()).await?;
    ensure!(answer.status == 200, "{}", answer.status);
    let text = String::from_utf8(answer.body.to_vec())?;
    let mut answers: Vec<serde_json::Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    answers.sort_by_key(|answer| answer["line"].as_u64());
    ensure!(answers.len() == 6, "six lines got {text}");
    let statuses: Vec<_> = answers[..5].iter().map(|answer| answer["error"]["status"].as_u64().unwrap_or(0)).collect();
    ensure!(statuses == [404, 400, 400, 400, 400], "{text}");
    ensure!(answers[5]["line"] == 6 && answers[5]["outcome"]["outcome"] == "accepted", "{text}");
    let raw = serde_json::value::to_raw_value(&answers[5]["outcome"])?;
    let sent = crate::witness::Sent { at_ns: invoke, line: None };
    one.witness.note(&good, sent, &crate::witness::Heard::Outcome(&raw));
    one.witness.flush()?;
    Ok(5)
}
