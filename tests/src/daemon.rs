//! A daemon as a process of its own: started on a data directory, ready when it says so, killed when dropped.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::clock;

/// How a daemon is started. Everything is passed by flags; what the environment says is kept away from it.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The `ordain` binary.
    pub binary: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    /// The folder it watches for modules.
    pub modules: PathBuf,
    /// More flags.
    pub flags: Vec<String>,
    /// Where its output is appended.
    pub output: PathBuf,
    /// How long it may take to be ready.
    pub patience: Duration,
}

/// What a daemon writes to `run.json` when it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Addresses {
    /// The HTTP API.
    pub http: SocketAddr,
    /// Liveness, readiness, metrics.
    pub admin: SocketAddr,
    /// The process.
    pub pid: u32,
}

/// A running daemon. Dropping it kills the process.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    addresses: Addresses,
    output: PathBuf,
    /// From the start of the process to its being ready.
    pub took: Duration,
}

impl Launch {
    /// A daemon that keeps data, modules and output below one folder.
    pub fn below(binary: &Path, folder: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            data: folder.join("data"),
            modules: folder.join("modules"),
            flags: Vec::new(),
            output: folder.join("daemon.log"),
            patience: Duration::from_secs(60),
        }
    }

    /// Starts the daemon and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started, ends, or is not ready in time; the error shows the end of its output.
    pub async fn start(&self) -> anyhow::Result<Daemon> {
        for folder in [&self.data, &self.modules] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let run_file = self.data.join("run.json");
        let start = clock::now_ns();
        let mut child = self.spawn()?;
        let ready = async {
            loop {
                if let Some(status) = child.try_wait()? {
                    bail!("it ended at once with {status}");
                }
                // A file of an earlier process has another process id in it.
                let addresses =
                    fs::read(&run_file).ok().and_then(|text| serde_json::from_slice::<Addresses>(&text).ok());
                match addresses {
                    Some(addresses) if addresses.pid == child.id() => return Ok(addresses),
                    _ => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        let ready = tokio::time::timeout(self.patience, ready).await;
        let ready = ready.unwrap_or_else(|_| bail!("it was not ready within {} s", self.patience.as_secs()));
        match ready {
            Ok(addresses) => Ok(Daemon { child, addresses, output: self.output.clone(), took: clock::since(start) }),
            Err(error) => {
                let _ended_already = child.kill();
                child.wait()?;
                let end = tail(&self.output);
                Err(error.context(format!("{} did not start; its output ends:\n{end}", self.binary.display())))
            }
        }
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let output = OpenOptions::new().create(true).append(true).open(&self.output);
        let output = output.with_context(|| format!("cannot write {}", self.output.display()))?;
        let mut command = Command::new(&self.binary);
        command.arg("run").arg("--data").arg(&self.data).arg("--modules").arg(&self.modules);
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]).args(&self.flags);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORDAIN_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        command.spawn().with_context(|| format!("cannot start {}: build it first", self.binary.display()))
    }
}

impl Daemon {
    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The API's address.
    pub fn http(&self) -> SocketAddr {
        self.addresses.http
    }

    /// Whether the process still runs.
    ///
    /// # Errors
    /// What the system says.
    pub fn runs(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Kills it without warning (`SIGKILL`) and waits until it is gone.
    ///
    /// # Errors
    /// If it had ended by itself before.
    pub fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the daemon had ended by itself with {status}; its output ends:\n{}", tail(&self.output));
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop (`SIGTERM`) and waits until it has.
    ///
    /// # Errors
    /// If it does not stop in time, or ended by itself before.
    pub async fn stop(mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the daemon had ended by itself with {status}; its output ends:\n{}", tail(&self.output));
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        let start = clock::now_ns();
        while clock::since(start) < patience {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("the daemon did not stop within {} s; its output ends:\n{}", patience.as_secs(), tail(&self.output))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// The last lines of a daemon's output.
fn tail(output: &Path) -> String {
    let text = fs::read(output).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Waits until `holds` does, asking again and again.
///
/// # Errors
/// If it does not within `patience`; the error says what was waited for.
pub async fn eventually<T, F>(what: &str, patience: Duration, mut holds: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Option<T>>,
{
    let start = clock::now_ns();
    loop {
        if let Some(value) = holds().await {
            return Ok(value);
        }
        if clock::since(start) > patience {
            bail!("{what} did not happen within {} s", patience.as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
