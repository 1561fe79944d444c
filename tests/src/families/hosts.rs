//! Several hosts that share the lanes of one log on a real Kafka broker: killed, stopped and started under load. Whatever
//! dies, every command is answered once, by whichever host owns its lane then, and its events are there once and whole.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use ordain_checker::history::read::History;
use ordain_checker::kafka;
use serde_json::{Value, json};

use crate::client::Client;
use crate::clock;
use crate::daemon::{Daemon, Launch, eventually};
use crate::field::{Counts, Field, kept};

/// Clients, each with accounts of its own.
const CLIENTS: u64 = 4;
/// Accounts of one client.
const ACCOUNTS: u64 = 5;
/// Times a host dies or leaves.
const ROUNDS: u64 = 6;
/// Answers heard between two of them.
const BETWEEN: u64 = 300;
/// Time for a host to be ready: it may have to wait until the group gives up on its predecessor.
const READY: Duration = Duration::from_secs(60);
/// Every so many commands one is sent again, and its id used for another.
const REPEATED: u64 = 5;
/// Events of a page of history.
const PAGE: u64 = 1000;

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let Ok(brokers) = std::env::var("ORDAIN_TEST_KAFKA") else {
        field.skip("ORDAIN_TEST_KAFKA names no broker: start one with `cargo xtask kafka up`");
        return Ok(Counts::new());
    };
    let prefix = format!("hosts{}-{}.", std::process::id(), clock::now_ns());
    let launches = [launch(field, "a", &brokers, &prefix)?, launch(field, "b", &brokers, &prefix)?];
    let mut hosts: Vec<Option<Daemon>> = Vec::new();
    for launch in &launches {
        hosts.push(Some(launch.start().await?));
    }
    let addresses: Addresses = Arc::new(Mutex::new(hosts.iter().flatten().map(Daemon::http).collect()));
    for host in hosts.iter().flatten() {
        knows_accounts(host.http()).await?;
    }
    let mut load = Load::start(&addresses);
    for round in 0..ROUNDS {
        load.hears(BETWEEN).await?;
        let at = (round % 2) as usize;
        let host = hosts[at].take().context("it runs")?;
        if round % 3 == 2 {
            host.stop(Duration::from_secs(30)).await?;
        } else {
            host.kill()?;
        }
        // The other host takes all lanes: commands go on being answered.
        load.hears(BETWEEN).await?;
        let host = launches[at].start().await?;
        addresses.lock().expect("no panic while held")[at] = host.http();
        hosts[at] = Some(host);
    }
    load.hears(BETWEEN).await?;
    let (sent, again) = load.finish().await?;
    let to = hosts.iter().flatten().next().context("a host runs")?.http();
    let mut commands = 0;
    for ids in &sent {
        commands += judge(to, ids).await?;
    }
    for host in hosts.into_iter().flatten() {
        host.stop(Duration::from_secs(30)).await?;
    }
    let records = judged(field, &brokers, &prefix)?;
    Ok(Counts::from([("commands", commands), ("records", records), ("sent again", again), ("hosts gone", ROUNDS)]))
}

/// The whole log, by the checker's own reader: one answer per command record, terms that do not interleave, and what the
/// bank's rules say. A repeat that was sent when the hosts stopped may be unanswered still.
fn judged(field: &Field, brokers: &str, prefix: &str) -> anyhow::Result<u64> {
    let rules = field.rules("v1")?;
    let options =
        kafka::Options { pending: true, rules: vec![(rules.digest, "v1".into())], ..kafka::Options::default() };
    let mut cluster = kafka::Cluster::open(&kafka::Broker::new(brokers, prefix))?;
    let report = kafka::judge(&mut cluster, &History::gather(&[])?, &options)?;
    kept(&report)?;
    Ok(report.records)
}

/// Where hosts are now; one that is gone keeps its last address.
type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

fn launch(field: &Field, name: &str, brokers: &str, prefix: &str) -> anyhow::Result<Launch> {
    let folder = field.folder.join(name);
    let _none = std::fs::remove_dir_all(&folder);
    let mut launch = Launch { patience: READY, ..Launch::below(&field.ordain, &folder) };
    std::fs::create_dir_all(&launch.modules)?;
    std::fs::copy(field.guests.join("bank-v1.wasm"), launch.modules.join("bank-v1.wasm"))?;
    let config = folder.join("ordain.toml");
    let text = format!(
        "partitions = 8\nlanes = 4\n[log]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\nprefix = \"{prefix}\"\nsession_timeout_ms = 3000\n"
    );
    std::fs::write(&config, text)?;
    launch.flags.extend(["--config".to_owned(), config.display().to_string()]);
    Ok(launch)
}

async fn knows_accounts(host: SocketAddr) -> anyhow::Result<()> {
    let listed = || async move {
        let answer = Client::new(host).get("/v1/account").await.ok()?;
        (answer.status == 200).then_some(())
    };
    eventually("the module being active", READY, listed).await
}

/// Clients at work.
struct Load {
    heard: Arc<AtomicU64>,
    again: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<anyhow::Result<Vec<Account>>>>,
}

/// An account and the ids of the commands that it answered, in their order.
struct Account {
    id: String,
    commands: Vec<String>,
}

impl Load {
    fn start(addresses: &Addresses) -> Self {
        let (heard, again) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let enough = Arc::<AtomicBool>::default();
        let clients = (0..CLIENTS).map(|client| {
            let (to, heard, again) = (Arc::clone(addresses), Arc::clone(&heard), Arc::clone(&again));
            tokio::spawn(work(client, to, heard, again, Arc::clone(&enough)))
        });
        let clients = clients.collect();
        Self { heard, again, enough, clients }
    }

    async fn hears(&mut self, more: u64) -> anyhow::Result<()> {
        let until = self.heard.load(Ordering::Acquire) + more;
        let heard = || async {
            let ended = self.clients.iter().any(tokio::task::JoinHandle::is_finished);
            (ended || self.heard.load(Ordering::Acquire) >= until).then_some(())
        };
        eventually("hearing more answers", Duration::from_secs(90), heard).await?;
        if let Some(at) = self.clients.iter().position(tokio::task::JoinHandle::is_finished) {
            // A client ends by itself only if something was not so.
            self.clients.swap_remove(at).await??;
        }
        Ok(())
    }

    async fn finish(self) -> anyhow::Result<(Vec<Account>, u64)> {
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
            ensure!(clock::since(began) < Duration::from_secs(90), "command {id} has no answer for 90 s");
            let hosts = self.to.lock().expect("no panic while held").clone();
            let host = hosts[(n + attempt) as usize % hosts.len()];
            match Client::new(host).post(&self.path, &[("idempotency-key", id)], body.clone()).await {
                Ok(answer) if matches!(answer.status, 200 | 422) => return Ok((answer.status, answer.json()?)),
                Ok(answer) if matches!(answer.status, 404 | 429 | 503 | 504) => {}
                Ok(answer) => anyhow::bail!("{id}: {} {}", answer.status, answer.json().unwrap_or_default()),
                Err(_) => {}
            }
            self.again.fetch_add(1, Ordering::AcqRel);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("it is asked until there is an answer, or for too long")
    }
}

/// An account's history is exactly the commands that were answered, in their order.
async fn judge(host: SocketAddr, account: &Account) -> anyhow::Result<u64> {
    let mut ids = Vec::new();
    let mut from = 1;
    loop {
        let path = format!("/v1/account/{}/events?from={from}&limit={PAGE}", account.id);
        let page = eventually("a page of history", READY, || async {
            let answer = Client::new(host).get(&path).await.ok()?;
            if answer.status == 200 { answer.json().ok() } else { None }
        })
        .await?;
        for event in page["events"].as_array().context("events")? {
            ensure!(event["version"] == ids.len() as u64 + 1, "versions of {} are not dense: {event}", account.id);
            ids.push(event["command_id"].as_str().context("a command id")?.to_owned());
        }
        match page["next"].as_u64() {
            Some(next) => from = next,
            None => break,
        }
    }
    let unique: BTreeSet<_> = ids.iter().collect();
    ensure!(unique.len() == ids.len(), "a command of {} was decided twice", account.id);
    ensure!(
        ids == account.commands,
        "{}: {} events, {} answered commands",
        account.id,
        ids.len(),
        account.commands.len()
    );
    Ok(ids.len() as u64)
}
