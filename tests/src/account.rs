//! An account as its clients know it, and whether a host tells the same of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::client::Client;
use crate::daemon::eventually;

/// Events of a page of history.
const PAGE: u64 = 1000;
/// Longest wait for a page, whatever happens to hosts and brokers meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

/// An account and the ids of the commands that it answered, in their order.
#[derive(Debug)]
pub struct Account {
    /// Its id.
    pub id: String,
    /// Those whose answer was an event.
    pub commands: Vec<String>,
}

impl Account {
    /// Asks a host for its history: exactly the commands that were answered, in their order. Returns how many these are.
    ///
    /// # Errors
    /// What was lost or doubled.
    pub async fn is_told_by(&self, host: SocketAddr) -> anyhow::Result<u64> {
        let mut ids = Vec::new();
        let mut from = 1;
        while !self.commands.is_empty() {
            let path = format!("/v1/account/{}/events?from={from}&limit={PAGE}", self.id);
            let page = eventually("a page of history", PATIENCE, || async {
                let answer = Client::new(host).get(&path).await.ok()?;
                if answer.status == 200 { answer.json().ok() } else { None }
            })
            .await?;
            for event in page["events"].as_array().context("events")? {
                ensure!(event["version"] == ids.len() as u64 + 1, "versions of {} are not dense: {event}", self.id);
                ids.push(event["command_id"].as_str().context("a command id")?.to_owned());
            }
            match page["next"].as_u64() {
                Some(next) => from = next,
                None => break,
            }
        }
        let unique: BTreeSet<_> = ids.iter().collect();
        ensure!(unique.len() == ids.len(), "a command of {} was decided twice", self.id);
        ensure!(ids == self.commands, "{}: {} events, {} answered commands", self.id, ids.len(), self.commands.len());
        Ok(ids.len() as u64)
    }
}
