//! A broker of its own, a proxy in front of it, and two hosts that know the broker through the proxy alone.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, ensure};
use ordain_checker::history::read::History;
use ordain_checker::kafka;
use tokio::net::TcpListener;
use xtask::kafka::{Cluster, Spec};

use super::clients::Clients;
use super::proxy::{Caught, Point, Proxy, Trap, Way};
use super::reads::{self, Asked};
use super::wire::Ask;
use super::{Addresses, LANES, PARTITIONS};
use crate::client::Client;
use crate::clock;
use crate::daemon::{Daemon, Launch, Starting, eventually};
use crate::field::{Counts, Field, kept};

/// The hosts' names, which the proxy knows them by.
pub const HOSTS: [&str; 2] = ["host-a", "host-b"];
/// Time for a host to be ready: it may have to wait until the group gives up on its predecessor.
const READY: Duration = Duration::from_secs(60);
/// Time for a host to answer what it took and to end.
const STOP: Duration = Duration::from_secs(30);
/// Milliseconds after which a host that is silent loses its lanes.
const SESSION_MS: u64 = 2_000;
/// As old may be what a host says of a state: half a session, with what clocks and schedulers add.
const STATE_AGE_MAX: Duration = Duration::from_millis(SESSION_MS / 2 + 100);

/// The broker and the hosts.
pub struct Scene {
    /// Between the two.
    pub proxy: Proxy,
    /// Where the hosts are that were started.
    pub addresses: Addresses,
    /// What the names of topics begin with.
    pub prefix: String,
    /// The broker's own address, behind the proxy.
    pub brokers: String,
    field: Field,
    history: PathBuf,
    launches: Vec<Launch>,
    hosts: [Option<Daemon>; 2],
    /// Ends the broker at last.
    _cluster: Cluster,
}

impl Scene {
    /// Starts a broker, with more properties if need be. No host runs yet.
    ///
    /// # Errors
    /// If it does not start, or something cannot be written.
    pub async fn set(field: &Field, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let _none = std::fs::remove_dir_all(&field.folder);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let name = field.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut spec = Spec::named(&format!("{name}-{}-{port}", std::process::id()));
        spec.advertised = vec![port];
        spec.settings = settings.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let cluster = tokio::task::spawn_blocking(move || Cluster::private(&spec)).await??;
        let proxy = Proxy::start(listener, cluster.port(1)?);
        let prefix = format!("t{}.", clock::now_ns());
        let launches = HOSTS.iter().map(|host| launch(field, host, &format!("127.0.0.1:{port}"), &prefix));
        let launches = launches.collect::<anyhow::Result<_>>()?;
        Ok(Self {
            proxy,
            addresses: Addresses::default(),
            brokers: cluster.bootstrap(),
            prefix,
            field: field.clone(),
            history: field.folder.join("history"),
            launches,
            hosts: [None, None],
            _cluster: cluster,
        })
    }

    /// Starts both hosts and clients, and waits until every lane decides.
    ///
    /// # Errors
    /// If they do not.
    pub async fn both_at_work(&mut self) -> anyhow::Result<Clients> {
        self.start(0).await?;
        self.start(1).await?;
        self.at_work().await
    }

    /// Starts clients of the hosts that were started, and waits until every lane decides.
    ///
    /// # Errors
    /// If they do not.
    pub async fn at_work(&mut self) -> anyhow::Result<Clients> {
        let mut clients = Clients::start(&self.addresses, &self.history)?;
        clients.hear_of_all(2).await?;
        Ok(clients)
    }

    /// Begins to start a host and does not wait.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn begin(&self, at: usize) -> anyhow::Result<Starting> {
        self.launches[at].begin()
    }

    /// Starts a host and waits until it is ready and knows its module.
    ///
    /// # Errors
    /// If it does not get there.
    pub async fn start(&mut self, at: usize) -> anyhow::Result<()> {
        let host = self.begin(at)?;
        self.ready(at, host).await
    }

    /// Waits until a host is ready and knows its module.
    ///
    /// # Errors
    /// If it does not get there.
    pub async fn ready(&mut self, at: usize, host: Starting) -> anyhow::Result<()> {
        let host = host.ready().await?;
        let to = host.http();
        eventually("the module being active", READY, || async move {
            let answer = Client::new(to).get("/v1/account").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await?;
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.len() <= at {
            addresses.resize(at + 1, to);
        }
        addresses[at] = to;
        drop(addresses);
        self.hosts[at] = Some(host);
        Ok(())
    }

    /// A host that runs, or stands still.
    ///
    /// # Errors
    /// If there is none.
    pub fn host(&mut self, at: usize) -> anyhow::Result<&mut Daemon> {
        self.hosts[at].as_mut().with_context(|| format!("{} does not run", HOSTS[at]))
    }

    /// A host to be ended by the caller.
    ///
    /// # Errors
    /// If there is none.
    pub fn taken_off(&mut self, at: usize) -> anyhow::Result<Daemon> {
        self.hosts[at].take().with_context(|| format!("{} does not run", HOSTS[at]))
    }

    /// Has reads wait for a host that stands still ([`reads`]).
    ///
    /// # Errors
    /// If there is no such host.
    pub async fn ask_sleeper(&mut self, at: usize, clients: &Clients) -> anyhow::Result<Asked> {
        let known = clients.known();
        tokio::time::sleep(STATE_AGE_MAX).await;
        Ok(reads::ask(self.host(at)?.http(), known))
    }

    /// Sets a trap for whatever lane.
    pub fn trap(&self, at: usize, ask: Ask, way: Way) -> Trap {
        self.proxy.trap(Point { client: HOSTS[at], ask, way, lane: None })
    }

    /// Sets a trap for one lane.
    pub fn trap_in(&self, at: usize, ask: Ask, way: Way, lane: u32) -> Trap {
        self.proxy.trap(Point { client: HOSTS[at], ask, way, lane: Some(lane) })
    }

    /// Sets the trap with which to catch something of a take-over ([`Self::caught_in_take`]).
    pub fn trap_take(&self, at: usize, ask: Ask, way: Way) -> Trap {
        if comes_first(ask) {
            return self.trap(at, ask, way);
        }
        // A lane's producer is new in a take-over: what follows its first request is the take-over's.
        self.trap(at, Ask::InitProducerId, Way::Back)
    }

    /// What [`Self::trap_take`] was set for.
    ///
    /// # Errors
    /// If it does not come.
    pub async fn caught_in_take(&self, trap: Trap, at: usize, ask: Ask, way: Way) -> anyhow::Result<Caught> {
        let caught = trap.sprung().await?;
        if comes_first(ask) {
            return Ok(caught);
        }
        // Who reads events does not say for which lane.
        let lane = caught.request.lane().filter(|_| ask != Ask::Restore);
        let next = self.proxy.trap(Point { client: HOSTS[at], ask, way, lane });
        caught.pass();
        next.sprung().await
    }

    /// Which host owns a lane: it commits, as clients ask for something.
    ///
    /// # Errors
    /// If none does.
    pub async fn owner_of(&self, lane: u32) -> anyhow::Result<usize> {
        let commits = |at| self.trap_in(at, Ask::EndTxn, Way::Back, lane).sprung();
        let owner = tokio::select! {
            caught = commits(0) => (0, caught),
            caught = commits(1) => (1, caught),
        };
        owner.1?.pass();
        Ok(owner.0)
    }

    /// Ends everything and has it judged: what hosts tell of every account, and the log beside what clients saw.
    ///
    /// # Errors
    /// What was not so.
    pub async fn judged(mut self, clients: Clients) -> anyhow::Result<Counts> {
        let done = clients.finish().await?;
        let to = self.hosts.iter().flatten().next().context("a host runs")?.http();
        let commands = done.is_told_by(to).await?;
        for host in self.hosts.iter_mut().filter_map(Option::take) {
            let status = host.stop(STOP).await?;
            ensure!(status.success(), "a host ended with {status}");
        }
        let rules = self.field.rules("v1")?;
        let options = kafka::Options {
            // A repeat that was sent when the hosts stopped may be unanswered still.
            pending: true,
            rules: vec![(rules.digest, "v1".into())],
            ..kafka::Options::default()
        };
        let (brokers, prefix, history) = (self.brokers.clone(), self.prefix.clone(), self.history.clone());
        // In a thread of its own: the reader is led through the proxy, too, which must go on meanwhile.
        let judging = tokio::task::spawn_blocking(move || {
            let mut cluster = kafka::Cluster::open(&kafka::Broker::new(&brokers, &prefix))?;
            kafka::judge(&mut cluster, &History::gather(&[history])?, &options)
        });
        let report = judging.await??;
        kept(&report)?;
        Ok(Counts::from([("commands", commands), ("records", report.records), ("sent again", done.again)]))
    }
}

/// Whether a request is not later in a take-over than its init.
fn comes_first(ask: Ask) -> bool {
    matches!(ask, Ask::JoinGroup | Ask::InitProducerId)
}

fn launch(field: &Field, name: &str, brokers: &str, prefix: &str) -> anyhow::Result<Launch> {
    let folder = field.folder.join(name);
    let mut launch = Launch { patience: READY, ..Launch::below(&field.ordain, &folder) };
    std::fs::create_dir_all(&launch.modules)?;
    std::fs::copy(field.guests.join("bank-v1.wasm"), launch.modules.join("bank-v1.wasm"))?;
    let config = folder.join("ordain.toml");
    let text = format!(
        "partitions = {PARTITIONS}\nlanes = {LANES}\n\
         [http]\nrequest_timeout_ms = 5000\nstate_wait_ms = 5000\n\
         [log]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\nprefix = \"{prefix}\"\nsession_timeout_ms = {SESSION_MS}\n\
         [log.properties]\n\"client.id\" = \"{name}\"\n"
    );
    std::fs::write(&config, text)?;
    launch.flags.extend(["--config".to_owned(), config.display().to_string()]);
    Ok(launch)
}
