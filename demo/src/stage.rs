//! The daemon of the story, and what is done to it: every deed is in the nemesis' record before it is done.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use ordain_checker::history::{Nemesis, NemesisEvent, Recorder};
use ordain_tests::client::Client;
use ordain_tests::clock;
use ordain_tests::daemon::{Daemon, Launch, eventually};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

/// Written into a folder that this program may empty.
const MARKER: &str = "this-folder-is-emptied-by-the-demo";
/// How long a module may take to decide everywhere.
const SWAP_PATIENCE: Duration = Duration::from_secs(60);

/// A module of the story.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Name in the reference model.
    pub name: String,
    /// Digest as the host shows it.
    pub digest: String,
    bytes: Vec<u8>,
}

impl Rules {
    /// Reads a module.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(path: &Path, name: &str) -> anyhow::Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read the module {}", path.display()))?;
        let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { name: name.to_owned(), digest: format!("sha256:{hex}"), bytes })
    }
}

/// The daemon, its folder, and who watches it.
pub struct Stage {
    launch: Launch,
    daemon: Option<Daemon>,
    nemesis: Recorder,
    rules: Rules,
    /// Times it was killed.
    pub kills: u64,
    /// Times its rules were swapped.
    pub swaps: u64,
    address: watch::Sender<SocketAddr>,
    /// Where clients write down what they see.
    pub history: PathBuf,
}

impl Stage {
    /// Empties the folder, puts the first rules into the modules folder and starts a daemon.
    ///
    /// # Errors
    /// If the folder holds something else, or the daemon does not start with these rules.
    pub async fn set(binary: &Path, folder: &Path, rules: &Rules) -> anyhow::Result<Self> {
        empty(folder)?;
        let history = folder.join("history");
        let mut stage = Self {
            launch: Launch::below(binary, folder),
            daemon: None,
            nemesis: Recorder::nemesis(&history)?,
            rules: rules.clone(),
            kills: 0,
            swaps: 0,
            address: watch::Sender::new(SocketAddr::from(([127, 0, 0, 1], 0))),
            history,
        };
        fs::create_dir_all(&stage.launch.modules)?;
        stage.begin(rules)?;
        stage.arrive(rules)?;
        stage.start().await?;
        stage.active(rules, 1).await?;
        stage.over(rules)?;
        Ok(stage)
    }

    /// Where the daemon is; changes when it is started anew.
    pub fn address(&self) -> watch::Receiver<SocketAddr> {
        self.address.subscribe()
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

    /// Gives the daemon other rules through the modules folder and returns how long it took until they decide everywhere.
    ///
    /// # Errors
    /// If they do not become active in time.
    pub async fn swap(&mut self, rules: &Rules) -> anyhow::Result<Duration> {
        let lanes = self.active(&self.rules, 1).await?;
        self.begin(rules)?;
        let start = clock::now_ns();
        self.arrive(rules)?;
        self.active(rules, lanes).await?;
        let took = clock::since(start);
        self.over(rules)?;
        self.rules = rules.clone();
        self.swaps += 1;
        Ok(took)
    }

    /// Kills the daemon with SIGKILL.
    ///
    /// # Errors
    /// If it had ended by itself.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.record(Nemesis::Kill)?;
        self.daemon.take().context("there is no daemon to kill")?.kill()?;
        self.kills += 1;
        Ok(())
    }

    /// Stops the daemon in peace.
    ///
    /// # Errors
    /// If it does not stop, or says that it failed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.record(Nemesis::Stop)?;
        let status = self.daemon.take().context("there is no daemon to stop")?.stop(Duration::from_secs(30)).await?;
        if !status.success() {
            bail!("the daemon stopped with {status}; see {}", self.launch.output.display());
        }
        Ok(())
    }

    /// The daemon's data directory.
    pub fn data(&self) -> &Path {
        &self.launch.data
    }

    fn begin(&mut self, rules: &Rules) -> anyhow::Result<()> {
        self.record(Nemesis::SwapBegin {
            aggregate_type: "account".to_owned(),
            module: rules.digest.clone(),
            rules: Some(rules.name.clone()),
        })
    }

    fn over(&mut self, rules: &Rules) -> anyhow::Result<()> {
        self.record(Nemesis::SwapEnd { aggregate_type: "account".to_owned(), module: rules.digest.clone() })
    }

    fn record(&mut self, event: Nemesis) -> anyhow::Result<()> {
        Ok(self.nemesis.write_now(&NemesisEvent { at_ns: clock::now_ns(), event })?)
    }

    /// The file appears under its name only when it is whole, as a careful deployment does it.
    fn arrive(&self, rules: &Rules) -> anyhow::Result<()> {
        let whole = self.launch.modules.join("bank-account.wasm");
        let draft = self.launch.modules.join(".bank-account.wasm.tmp");
        fs::write(&draft, &rules.bytes).with_context(|| format!("cannot write {}", draft.display()))?;
        fs::rename(&draft, &whole).with_context(|| format!("cannot write {}", whole.display()))
    }

    /// Waits until the rules are active in at least so many lanes, and returns in how many.
    async fn active(&self, rules: &Rules, lanes: usize) -> anyhow::Result<usize> {
        let address = *self.address.borrow();
        let what = format!("the swap to {} ({})", rules.name, rules.digest);
        let latest = std::sync::Mutex::new(String::new());
        let asked = || async {
            let answer = Client::new(address).get("/v1/modules").await.ok()?;
            *latest.lock().ok()? = String::from_utf8_lossy(&answer.body).into_owned();
            let list = answer.json().ok()?;
            let of_type = list["types"].as_array()?.iter().find(|of_type| of_type["type"] == "account")?;
            let taken = of_type["lanes"].as_array().map_or(0, Vec::len);
            (of_type["active"].as_str() == Some(&rules.digest) && taken >= lanes).then_some(taken)
        };
        let active = eventually(&what, SWAP_PATIENCE, asked).await;
        active.with_context(|| {
            format!("GET /v1/modules says {}", latest.lock().map(|text| text.clone()).unwrap_or_default())
        })
    }
}

/// Empties a folder that this program made, or makes it.
fn empty(folder: &Path) -> anyhow::Result<()> {
    if let Ok(mut inside) = fs::read_dir(folder) {
        if inside.next().is_some() && !folder.join(MARKER).exists() {
            bail!("{} is not empty and was not made by the demo: name another folder", folder.display());
        }
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(fs::write(folder.join(MARKER), "")?)
}
