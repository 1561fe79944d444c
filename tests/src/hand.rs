//! Clients that go on over kills and restarts until every command has its outcome.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use ordain_checker::history::StateSeen;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::client::stream::{Feed, Streaming};
use crate::client::{Answer, Broken, Client};
use crate::clock;
use crate::command::{Command, path_segment};
use crate::witness::{Heard, Known, Sent, Witness};

/// How long a client goes on trying while nothing is answered.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// One connection and the record of what goes over it.
#[derive(Debug)]
pub struct Hand {
    client: Client,
    address: watch::Receiver<SocketAddr>,
    /// What was asked and heard.
    pub witness: Witness,
}

impl Hand {
    /// A client with a record of its own in a history's folder.
    ///
    /// # Errors
    /// If the record cannot be opened.
    pub fn new(history: &Path, name: &str, address: watch::Receiver<SocketAddr>) -> anyhow::Result<Self> {
        let client = Client::new(*address.borrow());
        Ok(Self { client, address, witness: Witness::new(history, name)? })
    }

    /// The connection, to where the daemon is now.
    pub fn client(&mut self) -> &mut Client {
        self.client.move_to(*self.address.borrow());
        &mut self.client
    }

    /// Sends a command once. The answer as it came, and the outcome if it is one.
    pub async fn attempt(&mut self, command: &Command) -> (Result<Answer, Broken>, Option<Known>) {
        let invoke = clock::now_ns();
        let answer = self.client().send(command).await;
        let known = self.witness.note_answer(command, invoke, &answer);
        (answer, known)
    }

    /// Sends a command, again and again under the same id, until it has an outcome.
    ///
    /// # Errors
    /// If it gets none for too long.
    pub async fn decided(&mut self, command: &Command) -> anyhow::Result<Known> {
        let start = clock::now_ns();
        loop {
            if let (_, Some(known)) = self.attempt(command).await {
                return Ok(known);
            }
            if clock::since(start) > PATIENCE {
                let trouble = &self.witness.tally.latest_trouble;
                bail!("{} has no outcome after {} s: {trouble}", command.command_id, PATIENCE.as_secs());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends commands as one body of lines, and returns each with its answer line.
    ///
    /// # Errors
    /// If the answers do not come, or not all of them.
    pub async fn lines(&mut self, commands: &[Command]) -> anyhow::Result<Vec<(Command, Value)>> {
        let (mut body, mut answers) = (Vec::new(), Vec::new());
        commands.iter().for_each(|command| command.write_line(&mut body));
        let (at_ns, headers) = (clock::now_ns(), [("content-type", "application/x-ndjson")]);
        let answer = self.client().post("/v1/commands", &headers, body.into()).await?;
        for line in std::str::from_utf8(&answer.body)?.lines() {
            let said: Value = serde_json::from_str(line)?;
            let number = said["line"].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
            let command = number.checked_sub(1).and_then(|at| commands.get(at));
            let command = command.with_context(|| format!("an answer to no line: {line}"))?;
            let sent = Sent { at_ns, line: None };
            match said.get("outcome") {
                Some(outcome) => {
                    let raw = serde_json::value::to_raw_value(outcome)?;
                    self.witness.note(command, sent, &Heard::Outcome(&raw));
                }
                None => {
                    let status = said["error"]["status"].as_u64().unwrap_or(0) as u16;
                    self.witness.note(command, sent, &Heard::problem(status, line));
                }
            }
            answers.push((command.clone(), said));
        }
        ensure!(answers.len() == commands.len(), "{} lines, {} answers", commands.len(), answers.len());
        Ok(answers)
    }

    /// Reads the state of an account and writes it down for the checker. `None` if it never existed.
    ///
    /// # Errors
    /// If there is no answer, or another one.
    pub async fn state(&mut self, id: &str) -> anyhow::Result<Option<Value>> {
        let invoke = clock::now_ns();
        let answer = self.client().get(&format!("/v1/account/{}", path_segment(id))).await?;
        let (whole, version) = match answer.status {
            200 => {
                let whole = answer.json()?;
                let version = whole["version"].as_u64().with_context(|| format!("no version in {whole}"))?;
                (Some(whole), version)
            }
            404 => (None, 0),
            other => bail!("the state of {id} was answered {other}: {}", String::from_utf8_lossy(&answer.body)),
        };
        let state = RawValue::from_string(whole.as_ref().map_or_else(|| "null".into(), |w| w["state"].to_string()))?;
        let seen = StateSeen { aggregate_type: "account", id, version, state: &state, past: false };
        self.witness.note_state(seen, invoke);
        Ok(whole)
    }

    /// Ids and versions of all accounts, page by page.
    ///
    /// # Errors
    /// If a page is not answered as it should.
    pub async fn accounts(&mut self) -> anyhow::Result<Vec<(String, u64)>> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let answer = self.client().get(&format!("/v1/account?limit=1000{after}")).await?;
            let page = answer.json()?;
            for one in page["aggregates"].as_array().with_context(|| format!("no list of accounts in {page}"))? {
                let id = one["id"].as_str().with_context(|| format!("no id in {one}"))?;
                all.push((id.to_owned(), one["version"].as_u64().unwrap_or(0)));
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", path_segment(next)),
                None => return Ok(all),
            }
        }
    }

    /// Reads every account, for the checker to compare with what the log's events make. Returns how many there are.
    ///
    /// # Errors
    /// If one cannot be read, or the list and the state tell different versions.
    pub async fn read_all(&mut self) -> anyhow::Result<u64> {
        let accounts = self.accounts().await?;
        for (id, version) in &accounts {
            let seen = self.state(id).await?.with_context(|| format!("{id} is listed, and never existed"))?;
            if seen["version"].as_u64() != Some(*version) {
                bail!("the list says that {id} has version {version}, and its state is {seen}");
            }
        }
        self.witness.flush()?;
        Ok(accounts.len() as u64)
    }
}

/// Streams a feed until everything in it has an outcome, over as many connections as it takes. `progress` is called for
/// each outcome.
///
/// # Errors
/// If nothing is answered for too long.
pub async fn stream(
    mut feed: Feed,
    mut witness: Witness,
    address: watch::Receiver<SocketAddr>,
    pace: Pace,
    mut progress: impl FnMut() + Send,
) -> anyhow::Result<Witness> {
    let mut latest = clock::now_ns();
    for stream in 0.. {
        let Pace { in_flight, per_second } = pace;
        let streaming = Streaming { address: *address.borrow(), stream, in_flight, per_second };
        let mut heard = false;
        let mut on_outcome = |_: &Command, _: &Known| {
            heard = true;
            progress();
        };
        let Err(broken) = streaming.run(&mut feed, &mut witness, &mut on_outcome).await else { break };
        if heard {
            latest = clock::now_ns();
        }
        if clock::since(latest) > PATIENCE {
            bail!("nothing was answered for {} s: {broken}", PATIENCE.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
    witness.flush()?;
    Ok(witness)
}

/// How fast a feed is streamed.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Commands unanswered at a time, at most.
    pub in_flight: usize,
    /// Commands per second, at most.
    pub per_second: Option<u64>,
}
