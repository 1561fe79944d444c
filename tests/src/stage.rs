//! A daemon with its folder, and what is done to it: every deed is in the nemesis' record before it is done.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail};
use ordain_checker::history::read::History;
use ordain_checker::history::{Nemesis, NemesisEvent, Recorder};
use ordain_checker::log::Log;
use ordain_checker::{Options, Report, judge};
use serde_json::Value;
use tokio::sync::watch;

use crate::client::Client;
use crate::clock;
use crate::daemon::{Daemon, Launch, eventually};
use crate::rules::Rules;

/// Written into a folder that may be emptied.
const MARKER: &str = "this-folder-is-emptied-by-the-next-run";
/// How long a module may take to decide everywhere.
const SWAP_PATIENCE: Duration = Duration::from_secs(60);
/// How long a daemon may take to answer what it took and to end.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// The daemon, its folder, and who watches it.
#[derive(Debug)]
pub struct Stage {
    /// How the daemon is started; a change holds from the next start on.
    pub launch: Launch,
    /// Lanes it has, as far as it was told.
    lanes: usize,
    daemon: Option<Daemon>,
    nemesis: Recorder,
    /// Times it was killed.
    pub kills: u64,
    /// Times its rules were swapped.
    pub swaps: u64,
    address: watch::Sender<SocketAddr>,
    /// The file of the latest rules in the modules folder.
    latest_file: Option<String>,
    /// Where clients write down what they see.
    pub history: PathBuf,
}

impl Stage {
    /// Empties the folder and makes a stage in it. No daemon runs yet.
    ///
    /// # Errors
    /// If the folder holds something else.
    pub fn empty(binary: &Path, folder: &Path) -> anyhow::Result<Self> {
        empty(folder)?;
        let history = folder.join("history");
        let launch = Launch::below(binary, folder);
        fs::create_dir_all(&launch.modules)?;
        // The daemon's own default: one lane per core, and never more than partitions.
        let lanes = std::thread::available_parallelism().map_or(1, usize::from).min(16);
        let nemesis = Recorder::nemesis(&history)?;
        let address = watch::Sender::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        Ok(Self { launch, lanes, daemon: None, nemesis, kills: 0, swaps: 0, address, latest_file: None, history })
    }

    /// Empties the folder, starts a daemon and puts the first rules into its modules folder.
    ///
    /// # Errors
    /// If the folder holds something else, or the daemon does not start with these rules.
    pub async fn set(binary: &Path, folder: &Path, rules: &Rules) -> anyhow::Result<Self> {
        let mut stage = Self::empty(binary, folder)?;
        stage.start().await?;
        stage.swap(rules).await?;
        Ok(stage)
    }

    /// The number of lanes from the next start on.
    pub fn set_lanes(&mut self, lanes: usize) {
        self.lanes = lanes;
        self.launch.flags.retain(|flag| !flag.starts_with("--lanes="));
        self.launch.flags.push(format!("--lanes={lanes}"));
    }

    /// Where the daemon is; changes when it is started anew.
    pub fn address(&self) -> watch::Receiver<SocketAddr> {
        self.address.subscribe()
    }

    /// A connection of its own.
    pub fn client(&self) -> Client {
        Client::new(*self.address.borrow())
    }

    /// The running daemon.
    ///
    /// # Errors
    /// If there is none.
    pub fn daemon(&mut self) -> anyhow::Result<&mut Daemon> {
        self.daemon.as_mut().context("there is no daemon")
    }

    /// The running daemon, which nobody looks after any more.
    ///
    /// # Errors
    /// If there is none.
    pub fn take_daemon(&mut self) -> anyhow::Result<Daemon> {
        self.daemon.take().context("there is no daemon")
    }

    /// Starts the daemon and returns how long it took to be ready.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start(&mut self) -> anyhow::Result<Duration> {
        self.record(Nemesis::HostStart)?;
        let daemon = self.launch.start().await?;
        self.record(Nemesis::HostReady)?;
        let took = daemon.took;
        self.address.send_replace(daemon.http());
        self.daemon = Some(daemon);
        Ok(took)
    }

    /// Starts the daemon and kills it after a while, ready or not. Whether it had not become ready yet.
    ///
    /// # Errors
    /// If it ended by itself before.
    pub async fn start_and_kill(&mut self, after: Duration) -> anyhow::Result<bool> {
        self.record(Nemesis::HostStart)?;
        let starting = self.launch.begin()?;
        tokio::time::sleep(after).await;
        self.record(Nemesis::Kill)?;
        self.kills += 1;
        Ok(!starting.kill()?)
    }

    /// Starts the daemon, which must refuse to, and returns what it said.
    ///
    /// # Errors
    /// If it becomes ready.
    pub async fn refuses_to_start(&mut self) -> anyhow::Result<String> {
        self.record(Nemesis::HostStart)?;
        let said = self.launch.begin()?.refuses().await?;
        self.record(Nemesis::Stop)?;
        Ok(said)
    }

    /// Gives the daemon other rules through the modules folder and returns how long it took until they decide everywhere.
    ///
    /// # Errors
    /// If they do not become active in time.
    pub async fn swap(&mut self, rules: &Rules) -> anyhow::Result<Duration> {
        self.begin(rules)?;
        let start = clock::now_ns();
        self.arrive_next(rules)?;
        self.over(rules, start).await
    }

    /// Gives the daemon other rules over HTTP and returns how long it took until they decide everywhere.
    ///
    /// # Errors
    /// If they are refused, or do not become active in time.
    pub async fn deploy(&mut self, rules: &Rules) -> anyhow::Result<Duration> {
        self.begin(rules)?;
        let start = clock::now_ns();
        let wasm = [("content-type", "application/wasm")];
        let answer = self.client().post("/v1/modules", &wasm, rules.bytes.to_vec().into()).await?;
        let said = answer.json()?;
        if answer.status != 200 || said["digest"].as_str() != Some(&rules.digest) {
            bail!("deploying {} ({}) was answered {}: {said}", rules.name, rules.digest, answer.status);
        }
        self.over(rules, start).await
    }

    /// Kills the daemon with SIGKILL.
    ///
    /// # Errors
    /// If it had ended by itself.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.record(Nemesis::Kill)?;
        self.take_daemon()?.kill()?;
        self.kills += 1;
        Ok(())
    }

    /// Stops the daemon in peace.
    ///
    /// # Errors
    /// If it does not stop, or says that it failed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.record(Nemesis::Stop)?;
        let status = self.take_daemon()?.stop(STOP_PATIENCE).await?;
        if !status.success() {
            bail!("the daemon stopped with {status}; see {}", self.launch.output.display());
        }
        Ok(())
    }

    /// The daemon's data directory.
    pub fn data(&self) -> &Path {
        &self.launch.data
    }

    /// Rules are about to be given to the daemon.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn begin(&mut self, rules: &Rules) -> anyhow::Result<()> {
        self.record(Nemesis::SwapBegin {
            aggregate_type: "account".to_owned(),
            module: rules.digest.clone(),
            rules: rules.model.clone(),
        })
    }

    /// Waits until the rules that were given decide everywhere, and returns the time since `start`.
    ///
    /// # Errors
    /// If they do not in time.
    pub async fn over(&mut self, rules: &Rules, start: u64) -> anyhow::Result<Duration> {
        self.active(rules).await?;
        let took = clock::since(start);
        self.record(Nemesis::SwapEnd { aggregate_type: "account".to_owned(), module: rules.digest.clone() })?;
        self.swaps += 1;
        Ok(took)
    }

    fn record(&mut self, event: Nemesis) -> anyhow::Result<()> {
        Ok(self.nemesis.write_now(&NemesisEvent { at_ns: clock::now_ns(), event })?)
    }

    /// The rules appear under a new name, because the same bytes under the same name are no arrival; the file before
    /// goes, which unloads nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn arrive_next(&mut self, rules: &Rules) -> anyhow::Result<()> {
        let before = self.latest_file.replace(format!("bank-{}.wasm", self.swaps + self.kills));
        let name = self.latest_file.clone().unwrap_or_default();
        self.arrive(&name, &rules.bytes)?;
        match before.filter(|before| *before != name) {
            Some(before) => Ok(fs::remove_file(self.launch.modules.join(before))?),
            None => Ok(()),
        }
    }

    /// A file appears in the modules folder under its name only when it is whole, as a careful deployment does it.
    ///
    /// # Errors
    /// What the system says.
    pub fn arrive(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let (whole, draft) = (self.launch.modules.join(name), self.launch.modules.join(format!(".{name}.tmp")));
        fs::write(&draft, bytes).with_context(|| format!("cannot write {}", draft.display()))?;
        fs::rename(&draft, &whole).with_context(|| format!("cannot write {}", whole.display()))
    }

    /// What the daemon says about the modules of accounts; `Null` if it has none, or does not answer.
    pub async fn listed(&self) -> Value {
        let Ok(answer) = self.client().get("/v1/modules").await else { return Value::Null };
        let list = answer.json().unwrap_or_default();
        let of_type = list["types"].as_array().and_then(|all| all.iter().find(|one| one["type"] == "account"));
        of_type.cloned().unwrap_or_default()
    }

    /// Waits until the rules are active in every lane.
    ///
    /// # Errors
    /// If they do not become so in time.
    pub async fn active(&self, rules: &Rules) -> anyhow::Result<()> {
        let what = format!("the swap to {} ({})", rules.name, rules.digest);
        let latest = Mutex::new(Value::Null);
        let asked = || async {
            let of_type = self.listed().await;
            let taken = of_type["lanes"].as_array().map_or(0, Vec::len);
            let active = of_type["active"].as_str() == Some(&rules.digest) && taken == self.lanes;
            *latest.lock().ok()? = of_type;
            active.then_some(())
        };
        let active = eventually(&what, SWAP_PATIENCE, asked).await;
        active.with_context(|| format!("GET /v1/modules says {}", latest.lock().map(|l| l.clone()).unwrap_or_default()))
    }

    /// What the checker finds in log and histories. The daemon must have ended, or be at rest.
    ///
    /// # Errors
    /// If they cannot be read; broken promises are in the report.
    pub fn judged(&self) -> anyhow::Result<Report> {
        judge(&Log::open(&self.data().join("log"))?, &History::open(&self.history)?, Options::default())
    }
}

/// Empties a folder that was made here, or makes it.
fn empty(folder: &Path) -> anyhow::Result<()> {
    if let Ok(mut inside) = fs::read_dir(folder) {
        if inside.next().is_some() && !folder.join(MARKER).exists() {
            bail!("{} is not empty and was not made by this program: name another folder", folder.display());
        }
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(fs::write(folder.join(MARKER), "")?)
}
