//! Several hosts that share the lanes of one log on Kafka: each can be killed, stopped, paused and started again while
//! clients send to all of them. At the end everything is judged: by the accounts' histories as a host tells them, and the
//! whole log by the checker's own reader.

pub mod load;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use ordain_checker::history::read::History;
use ordain_checker::kafka;

use crate::client::Client;
use crate::clock;
use crate::daemon::{Daemon, Launch, eventually};
use crate::field::{Counts, Field, kept};
use load::Load;

/// Time for a host to be ready: it may have to wait until the group gives up on its predecessor.
pub const READY: Duration = Duration::from_secs(60);
/// Time for a host to stop.
const STOP: Duration = Duration::from_secs(30);
/// Lanes of the log.
pub const LANES: u32 = 4;
/// Partitions of each topic.
pub const PARTITIONS: u32 = 8;
/// After this time without a sign of life a host's lanes are given to others.
pub const SESSION: Duration = Duration::from_millis(3_000);

/// Where hosts are now; one that is gone keeps its last address, one that is paused has another's.
pub type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

/// The log that hosts share.
#[derive(Debug, Clone)]
pub struct SharedLog {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// What its topics begin with.
    pub prefix: String,
    /// More lines of `[log]`; `{host}` stands for the name of a host.
    pub settings: String,
}

impl SharedLog {
    /// One that no other run has, on these brokers.
    pub fn new(brokers: &str, name: &str) -> Self {
        let prefix = format!("{name}{}-{}.", std::process::id(), clock::now_ns());
        Self {
            brokers: brokers.to_owned(),
            prefix,
            settings: format!("session_timeout_ms = {}\n", SESSION.as_millis()),
        }
    }

    /// With more lines of `[log]`.
    #[must_use]
    pub fn with(mut self, settings: &str) -> Self {
        self.settings.push_str(settings);
        self
    }

    /// How a host of it is started, on a folder of its own that is emptied first.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn launch(&self, field: &Field, folder: &Path) -> anyhow::Result<Launch> {
        let _none = std::fs::remove_dir_all(folder);
        let mut launch = Launch { patience: READY, ..Launch::below(&field.ordain, folder) };
        std::fs::create_dir_all(&launch.modules)?;
        std::fs::copy(field.guests.join("bank-v1.wasm"), launch.modules.join("bank-v1.wasm"))?;
        let config = folder.join("ordain.toml");
        let Self { brokers, prefix, settings } = self;
        let name = folder.file_name().context("a host has a name")?.to_string_lossy();
        let settings = settings.replace("{host}", &name);
        let text = format!(
            "partitions = {PARTITIONS}\nlanes = {LANES}\n[log]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\n\
             prefix = \"{prefix}\"\n{settings}"
        );
        std::fs::write(&config, text)?;
        launch.flags.extend(["--config".to_owned(), config.display().to_string()]);
        Ok(launch)
    }

    /// The topic of accounts' events.
    pub fn events(&self) -> String {
        format!("{}account.events", self.prefix)
    }

    /// The group of its hosts.
    pub fn group(&self) -> String {
        format!("{}hosts", self.prefix)
    }

    /// The transactional id of a lane: of the first generation, as no other is made here.
    pub fn transactional_id(&self, lane: u32) -> String {
        format!("{}g1-lane-{lane}", self.prefix)
    }

    /// The whole log, by the checker's own reader: one answer per command record, terms that do not interleave, and what
    /// the bank's rules say. `pending`: a repeat that was sent when the hosts stopped may be unanswered still. Returns the
    /// number of its records.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judged(&self, field: &Field, pending: bool) -> anyhow::Result<u64> {
        let rules = field.rules("v1")?;
        let options = kafka::Options { pending, rules: vec![(rules.digest, "v1".into())], ..kafka::Options::default() };
        let mut cluster = kafka::Cluster::open(&kafka::Broker::new(&self.brokers, &self.prefix))?;
        let report = kafka::judge(&mut cluster, &History::gather(&[])?, &options)?;
        kept(&report)?;
        Ok(report.records)
    }
}

/// Hosts of one log.
#[derive(Debug)]
pub struct Fleet {
    /// The log.
    pub log: SharedLog,
    launches: Vec<Launch>,
    hosts: Vec<Option<Daemon>>,
    addresses: Addresses,
}

impl Fleet {
    /// Starts so many hosts, and waits until each knows what an account is.
    ///
    /// # Errors
    /// If one does not start.
    pub async fn start(field: &Field, log: SharedLog, count: usize) -> anyhow::Result<Self> {
        let launch = |n: usize| log.launch(field, &field.folder.join(format!("host-{n}")));
        let launches = (0..count).map(launch).collect::<anyhow::Result<Vec<_>>>()?;
        let mut hosts = Vec::new();
        for launch in &launches {
            hosts.push(Some(launch.start().await?));
        }
        let addresses: Addresses = Arc::new(Mutex::new(hosts.iter().flatten().map(Daemon::http).collect()));
        for host in hosts.iter().flatten() {
            knows_accounts(host.http()).await?;
        }
        Ok(Self { log, launches, hosts, addresses })
    }

    /// How many there are, running or not.
    pub fn count(&self) -> usize {
        self.launches.len()
    }

    /// Where all of them are.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// A host that was started and not killed or stopped since; it may be paused.
    pub fn host(&mut self, at: usize) -> Option<&mut Daemon> {
        self.hosts.get_mut(at)?.as_mut()
    }

    fn taken(&mut self, at: usize) -> anyhow::Result<Daemon> {
        self.hosts.get_mut(at).and_then(Option::take).with_context(|| format!("host {at} does not run"))
    }

    /// Kills a host without warning.
    ///
    /// # Errors
    /// If it does not run, or had ended by itself.
    pub fn kill(&mut self, at: usize) -> anyhow::Result<()> {
        self.taken(at)?.kill()
    }

    /// Asks a host to stop and waits until it has.
    ///
    /// # Errors
    /// If it does not run, had ended by itself, or does not stop.
    pub async fn stop(&mut self, at: usize) -> anyhow::Result<()> {
        let status = self.taken(at)?.stop(STOP).await?;
        ensure!(status.success(), "host {at} was asked to stop and ended with {status}");
        Ok(())
    }

    /// Starts a host that was killed or stopped, on its data, and waits until it is ready.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_again(&mut self, at: usize) -> anyhow::Result<()> {
        let host = self.launch(at)?.start().await.with_context(|| format!("host {at}"))?;
        self.put(at, host);
        Ok(())
    }

    /// How a host is started.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn launch(&self, at: usize) -> anyhow::Result<&Launch> {
        self.launches.get(at).with_context(|| format!("there is no host {at}"))
    }

    /// A host that was started again by other hands.
    pub fn put(&mut self, at: usize, host: Daemon) {
        self.addresses.lock().expect("no panic while held")[at] = host.http();
        self.hosts[at] = Some(host);
    }

    /// Starts a host a second time under its settings, on a folder of its own; it takes the place of the first, which is
    /// returned and is no host of the fleet any more.
    ///
    /// # Errors
    /// If it does not start, or the first does not run.
    pub async fn doubled(&mut self, at: usize, folder: &Path) -> anyhow::Result<Daemon> {
        let mut launch = self.launch(at)?.clone();
        (launch.data, launch.output) = (folder.join("data"), folder.join("daemon.log"));
        let double = launch.start().await.with_context(|| format!("the double of host {at}"))?;
        let first = self.taken(at)?;
        self.launches[at] = launch;
        self.put(at, double);
        Ok(first)
    }

    /// Lets a host stand still. Clients ask `instead` meanwhile.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause(&mut self, at: usize, instead: usize) -> anyhow::Result<()> {
        self.host(at).with_context(|| format!("host {at} does not run"))?.pause()?;
        let mut addresses = self.addresses.lock().expect("no panic while held");
        addresses[at] = addresses[instead];
        Ok(())
    }

    /// Lets a host go on.
    ///
    /// # Errors
    /// If it ended.
    pub fn resume(&mut self, at: usize) -> anyhow::Result<()> {
        let host = self.host(at).with_context(|| format!("host {at} does not run"))?;
        host.resume()?;
        let http = host.http();
        self.addresses.lock().expect("no panic while held")[at] = http;
        Ok(())
    }

    /// Fails if a host ended that nobody killed or stopped.
    ///
    /// # Errors
    /// The end of what it said.
    pub fn all_run(&mut self) -> anyhow::Result<()> {
        for (at, host) in self.hosts.iter_mut().enumerate() {
            let Some(host) = host else { continue };
            let said = |host: &Daemon| host.said().lines().rev().take(20).collect::<Vec<_>>().join("\n");
            ensure!(host.runs()?, "host {at} ended by itself; what it said last, backwards:\n{}", said(host));
        }
        Ok(())
    }

    /// Ends the load, has every account's history told by a host and the log judged by the checker. Every host that was
    /// not killed or stopped must run until here. If all was well, the field's folder is removed.
    ///
    /// # Errors
    /// What was lost, doubled, or decided on stale state.
    pub async fn judge(mut self, field: &Field, load: Load) -> anyhow::Result<Counts> {
        let (accounts, again) = load.finish().await?;
        self.all_run()?;
        let to = self.hosts.iter().flatten().next().context("a host runs")?.http();
        let mut commands = 0;
        for account in &accounts {
            commands += account.is_told_by(to).await?;
        }
        for at in 0..self.hosts.len() {
            if self.hosts[at].is_some() {
                self.stop(at).await?;
            }
        }
        let records = self.log.judged(field, true)?;
        field.clear();
        Ok(Counts::from([("commands", commands), ("records", records), ("sent again", again)]))
    }
}

/// Waits until a host knows what an account is.
///
/// # Errors
/// If it does not in time.
pub async fn knows_accounts(host: SocketAddr) -> anyhow::Result<()> {
    let listed = || async move {
        let answer = Client::new(host).get("/v1/account").await.ok()?;
        (answer.status == 200).then_some(())
    };
    eventually("the module being active", READY, listed).await
}

/// The brokers of tests, or a note that there are none.
pub fn brokers(field: &Field) -> Option<String> {
    let brokers = std::env::var("ORDAIN_TEST_KAFKA").ok();
    if brokers.is_none() {
        field.skip("ORDAIN_TEST_KAFKA names no broker: start one with `cargo xtask kafka up`");
    }
    brokers
}
