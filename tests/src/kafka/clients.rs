//! Clients of several hosts: one for each partition, so that a lane that stands still holds up its own clients alone. A
//! command after the other, each sent until it is answered, to one host after the other.
//!
//! A host that stands still answers nothing: after a while the command is sent to another one, and what the first one
//! says when it wakes up is written down too. The checker compares it with the log.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use ordain_checker::murmur;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Addresses, LANES, PARTITIONS};
use crate::account::Account;
use crate::client::Client;
use crate::clock;
use crate::command::Command;
use crate::daemon::eventually;
use crate::witness::Witness;

/// Accounts of one client.
const ACCOUNTS: usize = 3;
/// Every so many commands one is sent again, and its id used for another.
const REPEATED: u64 = 5;
/// How long a host may take before another one is asked.
const TURN: Duration = Duration::from_millis(500);
/// How long a command may be without an answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two attempts, and between two commands: what is looked at is who decides, and not how fast.
const PAUSE: Duration = Duration::from_millis(20);

/// What all clients have in common.
struct Pulse {
    addresses: Addresses,
    /// Answers heard by the client of each partition.
    heard: Vec<AtomicU64>,
    /// The version of each account that was answered last.
    known: Mutex<BTreeMap<String, u64>>,
    again: AtomicU64,
    enough: AtomicBool,
    resting: watch::Receiver<bool>,
    idle: AtomicU64,
}

/// Clients at work.
pub struct Clients {
    pulse: Arc<Pulse>,
    rest: watch::Sender<bool>,
    working: Vec<JoinHandle<anyhow::Result<Vec<Account>>>>,
}

/// What clients did.
#[derive(Debug)]
pub struct Done {
    /// Their accounts.
    pub accounts: Vec<Account>,
    /// Commands that were sent again.
    pub again: u64,
}

impl Clients {
    /// Starts them. `history`: where they write down what they see.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn start(addresses: &Addresses, history: &Path) -> anyhow::Result<Self> {
        let (rest, resting) = watch::channel(false);
        let pulse = Arc::new(Pulse {
            addresses: Arc::clone(addresses),
            heard: (0..PARTITIONS).map(|_| AtomicU64::new(0)).collect(),
            known: Mutex::default(),
            again: AtomicU64::new(0),
            enough: AtomicBool::new(false),
            resting,
            idle: AtomicU64::new(0),
        });
        let mut working = Vec::new();
        for partition in 0..PARTITIONS {
            let witness = Arc::new(Mutex::new(Witness::new(history, &format!("of-{partition}"))?));
            let client = Worker { partition, pulse: Arc::clone(&pulse), witness, late: Vec::new() };
            working.push(tokio::spawn(client.work()));
        }
        Ok(Self { pulse, rest, working })
    }

    /// Answers heard so far.
    pub fn heard(&self) -> u64 {
        self.pulse.heard.iter().map(|of| of.load(Ordering::Acquire)).sum()
    }

    /// The version of each account that was answered last.
    pub fn known(&self) -> BTreeMap<String, u64> {
        self.pulse.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many more answers were heard, from whichever lane.
    ///
    /// # Errors
    /// If a client found something wrong, or it takes too long.
    pub async fn hear(&mut self, more: u64) -> anyhow::Result<()> {
        let goal = self.heard() + more;
        self.until("hearing more answers", |clients| clients.heard() >= goal).await
    }

    /// Waits until every client of these lanes has heard so many more answers.
    ///
    /// # Errors
    /// As [`Self::hear`].
    pub async fn hear_of(&mut self, lanes: impl Fn(u32) -> bool, more: u64) -> anyhow::Result<()> {
        let heard = |clients: &Self, of: u32| clients.pulse.heard[of as usize].load(Ordering::Acquire);
        let partitions = (0..PARTITIONS).filter(|partition| lanes(partition % LANES));
        let goals: Vec<(u32, u64)> = partitions.map(|of| (of, heard(self, of) + more)).collect();
        let all = |clients: &Self| goals.iter().all(|&(of, goal)| heard(clients, of) >= goal);
        self.until("hearing more answers from each lane", all).await
    }

    /// Waits until every client has heard so many more answers: every lane has an owner that decides.
    ///
    /// # Errors
    /// As [`Self::hear`].
    pub async fn hear_of_all(&mut self, more: u64) -> anyhow::Result<()> {
        self.hear_of(|_| true, more).await
    }

    /// Answers heard of a lane so far.
    pub fn heard_of(&self, lane: u32) -> u64 {
        let partitions = (0..PARTITIONS).filter(|partition| partition % LANES == lane);
        partitions.map(|of| self.pulse.heard[of as usize].load(Ordering::Acquire)).sum()
    }

    /// Lets every client finish its command and wait.
    ///
    /// # Errors
    /// As [`Self::hear`].
    pub async fn rest(&mut self) -> anyhow::Result<()> {
        self.rest.send_replace(true);
        let all = u64::from(PARTITIONS);
        self.until("every client resting", |clients| clients.pulse.idle.load(Ordering::Acquire) == all).await
    }

    /// Lets clients that rest go on.
    pub fn go_on(&self) {
        self.rest.send_replace(false);
    }

    async fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let seen = || async { (self.ended().is_some() || reached(self)).then_some(()) };
        eventually(what, PATIENCE, seen).await?;
        if let Some(at) = self.ended() {
            // A client ends by itself only if something was not so.
            self.working.swap_remove(at).await??;
        }
        Ok(())
    }

    fn ended(&self) -> Option<usize> {
        self.working.iter().position(JoinHandle::is_finished)
    }

    /// Lets the clients finish what they began.
    ///
    /// # Errors
    /// If one found something wrong.
    pub async fn finish(self) -> anyhow::Result<Done> {
        self.pulse.enough.store(true, Ordering::Release);
        self.go_on();
        let mut accounts = Vec::new();
        for client in self.working {
            accounts.extend(client.await??);
        }
        Ok(Done { accounts, again: self.pulse.again.load(Ordering::Acquire) })
    }
}

/// The outcome of an attempt, with its status; nothing if it has to be tried again.
type Attempt = anyhow::Result<Option<(u16, Value)>>;

/// The client of one partition.
struct Worker {
    partition: u32,
    pulse: Arc<Pulse>,
    witness: Arc<Mutex<Witness>>,
    /// Attempts that were not waited for any longer, and the hosts that are still to answer them.
    late: Vec<(SocketAddr, JoinHandle<Attempt>)>,
}

impl Worker {
    async fn work(mut self) -> anyhow::Result<Vec<Account>> {
        let mut accounts: Vec<Account> =
            ids(self.partition).take(ACCOUNTS).map(|id| Account { id, commands: Vec::new() }).collect();
        for n in 0.. {
            self.wait_while_resting().await;
            if self.pulse.enough.load(Ordering::Acquire) {
                break;
            }
            let account = &mut accounts[n as usize % ACCOUNTS];
            self.one(n, account).await.with_context(|| format!("the client of partition {}", self.partition))?;
            self.pulse.heard[self.partition as usize].fetch_add(1, Ordering::AcqRel);
            tokio::time::sleep(PAUSE).await;
        }
        for (_, late) in self.late {
            late.await??;
        }
        self.witness.lock().unwrap_or_else(PoisonError::into_inner).flush()?;
        Ok(accounts)
    }

    async fn wait_while_resting(&self) {
        let mut resting = self.pulse.resting.clone();
        if !*resting.borrow() {
            return;
        }
        self.pulse.idle.fetch_add(1, Ordering::AcqRel);
        // An error means that nobody can end the rest any more; then it is over.
        let _over = resting.wait_for(|resting| !resting).await;
        self.pulse.idle.fetch_sub(1, Ordering::AcqRel);
    }

    /// The next command of an account, and now and then its repeats.
    async fn one(&mut self, n: u64, account: &mut Account) -> anyhow::Result<()> {
        let body = if account.commands.is_empty() {
            json!({"Open": {"owner": "ada", "overdraft_limit": 0}})
        } else {
            json!({"Deposit": {"amount": 1}})
        };
        let id = format!("c-{}-{n}", self.partition);
        let command = Command::new("account", &account.id, &id, &body);
        let version = account.commands.len() as u64 + 1;
        let (_, outcome) = self.answered(n, &command).await?;
        ensure!(outcome["outcome"] == "accepted", "{id}: {outcome}");
        ensure!(outcome["version"] == version, "{id} was decided on stale state: {outcome}, wanted {version}");
        if n.is_multiple_of(REPEATED) {
            let other = Command::new("account", &account.id, &id, &json!({"Deposit": {"amount": 2}}));
            // Through either host: the first answer again, and no other command under the same id.
            for host in n..n + 2 {
                let (_, repeat) = self.answered(host, &command).await?;
                ensure!(repeat["replayed"] == true && repeat["version"] == version, "{id} again: {repeat}");
                let (status, reused) = self.answered(host, &other).await?;
                let reason = &reused["failure"]["reason"];
                ensure!(status == 422 && reason == "command_id_reused", "{id} for another command: {status} {reused}");
            }
        }
        account.commands.push(id);
        self.pulse.known.lock().unwrap_or_else(PoisonError::into_inner).insert(account.id.clone(), version);
        Ok(())
    }

    /// Sends a command, to one host after the other from the `n`th on, until it has an outcome.
    async fn answered(&mut self, n: u64, command: &Command) -> anyhow::Result<(u16, Value)> {
        let began = clock::now_ns();
        for attempt in 0.. {
            ensure!(
                clock::since(began) < PATIENCE,
                "{} has no answer for {} s",
                command.command_id,
                PATIENCE.as_secs()
            );
            let host = self.host(n + attempt);
            let mut sent = tokio::spawn(attempt_at(host, command.clone(), Arc::clone(&self.witness)));
            match tokio::time::timeout(TURN, &mut sent).await {
                Ok(heard) => {
                    if let Some(outcome) = heard?? {
                        return Ok(outcome);
                    }
                }
                Err(_) => self.late.push((host, sent)),
            }
            self.pulse.again.fetch_add(1, Ordering::AcqRel);
            tokio::time::sleep(PAUSE).await;
        }
        unreachable!("it is asked until there is an answer, or for too long")
    }
}

impl Worker {
    /// The host whose turn it is; one that stands still is left alone while there is another one.
    fn host(&self, turn: u64) -> SocketAddr {
        let hosts = self.pulse.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let silent = |host: &SocketAddr| self.late.iter().any(|(to, sent)| to == host && !sent.is_finished());
        let start = turn as usize % hosts.len();
        let mut in_turn = hosts.iter().cycle().skip(start).take(hosts.len());
        in_turn.find(|host| !silent(host)).copied().unwrap_or(hosts[start])
    }
}

async fn attempt_at(host: SocketAddr, command: Command, witness: Arc<Mutex<Witness>>) -> Attempt {
    let invoke = clock::now_ns();
    let answer = Client::new(host).send(&command).await;
    witness.lock().unwrap_or_else(PoisonError::into_inner).note_answer(&command, invoke, &answer);
    match answer {
        Ok(answer) if matches!(answer.status, 200 | 422) => Ok(Some((answer.status, answer.json()?))),
        Ok(answer) if matches!(answer.status, 404 | 429 | 503 | 504) => Ok(None),
        Ok(answer) => bail!("{}: {} {}", command.command_id, answer.status, answer.json().unwrap_or_default()),
        Err(_) => Ok(None),
    }
}

/// Ids of accounts that belong to a partition.
pub fn ids(partition: u32) -> impl Iterator<Item = String> {
    let all = (0..).map(move |n: u64| format!("acc-{partition}-{n}"));
    all.filter(move |id| murmur::partition(id, PARTITIONS) == partition)
}

impl Done {
    /// Asks a host for the history of every account: exactly the commands that were answered, in their order. Returns
    /// how many these are.
    ///
    /// # Errors
    /// If it is not so.
    pub async fn is_told_by(&self, host: SocketAddr) -> anyhow::Result<u64> {
        let mut commands = 0;
        for account in &self.accounts {
            commands += account.is_told_by(host).await?;
        }
        Ok(commands)
    }
}
