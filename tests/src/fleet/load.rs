//! Clients of several hosts: each sends its commands one after the other, each command until it is answered, to whichever
//! host. What an answer says tells at once whether it was decided on stale state: an account's versions are dense.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use serde_json::{Value, json};

use super::Addresses;
use crate::account::Account;
use crate::client::Client;
use crate::clock;
use crate::daemon::eventually;

/// Clients, each with accounts of its own.
const CLIENTS: u64 = 4;
/// Accounts of one client.
const ACCOUNTS: u64 = 5;
/// Every so many commands one is sent again, and its id used for another.
const REPEATED: u64 = 5;
/// Longest wait for one answer before another host is asked: one that is paused says nothing.
const ONE_TRY: Duration = Duration::from_secs(5);
/// Longest time without an answer to a command, whatever happens to hosts and brokers meanwhile.
const ANSWERED: Duration = Duration::from_secs(90);

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    heard: Arc<AtomicU64>,
    again: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<anyhow::Result<Vec<Account>>>>,
}

impl Load {
    /// Starts the clients.
    pub fn start(addresses: &Addresses) -> Self {
        let (heard, again) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let enough = Arc::<AtomicBool>::default();
        let clients = (0..CLIENTS).map(|client| {
            let (to, heard, again) = (Arc::clone(addresses), Arc::clone(&heard), Arc::clone(&again));
            tokio::spawn(work(client, to, heard, again, Arc::clone(&enough)))
        });
        let clients = clients.collect();
        Self { heard, again, enough, clients }
    }

    /// Waits until so many more commands were answered.
    ///
    /// # Errors
    /// What a client saw that was not so, or that it takes too long.
    pub async fn hears(&mut self, more: u64) -> anyhow::Result<()> {
        let until = self.heard.load(Ordering::Acquire) + more;
        let heard = || async { (self.ended() || self.heard.load(Ordering::Acquire) >= until).then_some(()) };
        eventually("hearing more answers", ANSWERED, heard).await?;
        self.complaint().await
    }

    /// Lets the clients go on for a while.
    ///
    /// # Errors
    /// What a client saw that was not so.
    pub async fn goes_on(&mut self, during: Duration) -> anyhow::Result<()> {
        let began = clock::now_ns();
        while clock::since(began) < during && !self.ended() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.complaint().await
    }

    fn ended(&self) -> bool {
        self.clients.iter().any(tokio::task::JoinHandle::is_finished)
    }

    /// A client ends by itself only if something was not so.
    async fn complaint(&mut self) -> anyhow::Result<()> {
        if let Some(at) = self.clients.iter().position(tokio::task::JoinHandle::is_finished) {
            self.clients.swap_remove(at).await??;
        }
        Ok(())
    }

    /// Lets the clients finish what they began. Returns the accounts and how often a command was sent again.
    ///
    /// # Errors
    /// What a client saw that was not so.
    pub async fn finish(self) -> anyhow::Result<(Vec<Account>, u64)> {
        self.enough.store(true, Ordering::Release);
        let mut accounts = Vec::new();
        for client in self.clients {
            accounts.extend(client.await??);
        }
        Ok((accounts, self.again.load(Ordering::Acquire)))
    }
}

/// One client: a command after the other, each sent until it is answered, to whichever host.
async fn work(
    client: u64,
    to: Addresses,
    heard: Arc<AtomicU64>,
    again: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Account>> {
    let mut accounts: Vec<Account> =
        (0..ACCOUNTS).map(|n| Account { id: format!("acc-{client}-{n}"), commands: Vec::new() }).collect();
    for n in 0.. {
        if enough.load(Ordering::Acquire) {
            break;
        }
        let account = &mut accounts[(n % ACCOUNTS) as usize];
        let first = account.commands.is_empty();
        let body = if first {
            json!({"Open": {"owner": "ada", "overdraft_limit": 0}})
        } else {
            json!({"Deposit": {"amount": 1}})
        };
        let id = format!("c-{client}-{n}");
        let asked = Asked { to: &to, path: format!("/v1/account/{}/commands", account.id), again: &again };
        let version = account.commands.len() as u64 + 1;
        let (_, outcome) = asked.answered(n, &id, &body).await?;
        ensure!(outcome["outcome"] == "accepted", "{id}: {outcome}");
        ensure!(outcome["version"] == version, "{id} was decided on stale state: {outcome}, wanted {version}");
        if n % REPEATED == 0 {
            // Through either host: the first answer again, and no other command under the same id.
            for host in n..n + 2 {
                let (_, repeat) = asked.answered(host, &id, &body).await?;
                ensure!(repeat["replayed"] == true && repeat["version"] == version, "{id} again: {repeat}");
                let (status, reused) = asked.answered(host, &id, &json!({"Deposit": {"amount": 2}})).await?;
                let reason = &reused["failure"]["reason"];
                ensure!(status == 422 && reason == "command_id_reused", "{id} for another command: {status} {reused}");
            }
        }
        account.commands.push(id);
        heard.fetch_add(1, Ordering::AcqRel);
    }
    Ok(accounts)
}

/// Where one account's commands are sent.
struct Asked<'a> {
    to: &'a Addresses,
    path: String,
    again: &'a AtomicU64,
}

impl Asked<'_> {
    /// Sends a command, to one host after the other from the `n`th on, until it has an outcome.
    async fn answered(&self, n: u64, id: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let body = Bytes::from(body.to_string());
        let began = clock::now_ns();
        for attempt in 0.. {
            ensure!(clock::since(began) < ANSWERED, "command {id} has no answer for {} s", ANSWERED.as_secs());
            let hosts = self.to.lock().expect("no panic while held").clone();
            let host = hosts[(n + attempt) as usize % hosts.len()];
            let mut client = Client::new(host);
            let headers = [("idempotency-key", id)];
            match tokio::time::timeout(ONE_TRY, client.post(&self.path, &headers, body.clone())).await {
                Ok(Ok(answer)) if matches!(answer.status, 200 | 422) => return Ok((answer.status, answer.json()?)),
                Ok(Ok(answer)) if matches!(answer.status, 404 | 429 | 503 | 504) => {}
                Ok(Ok(answer)) => anyhow::bail!("{id}: {} {}", answer.status, answer.json().unwrap_or_default()),
                Ok(Err(_)) | Err(_) => {}
            }
            self.again.fetch_add(1, Ordering::AcqRel);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("it is asked until there is an answer, or for too long")
    }
}
