//! A daemon as a process of its own: started on a data directory, ready when it says so, killed when dropped.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::clock;

/// How a daemon is started. Everything is passed by flags; what this process's environment says is kept away from it.
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
    /// Settings by the environment, for what must not be seen in a file or among flags.
    pub environment: Vec<(String, String)>,
    /// A program that starts the daemon, with its flags, and leaves it as its own process; empty for none.
    pub under: Vec<String>,
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

/// A process that is killed when this is dropped.
#[derive(Debug)]
struct Process(Child);

impl Process {
    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        if let Some(status) = self.0.try_wait()? {
            bail!("the daemon had ended by itself with {status}");
        }
        Ok(kill_process(Pid::from_child(&self.0), signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Where a process writes, and how long the file was before it did.
#[derive(Debug, Clone)]
struct Output {
    path: PathBuf,
    from: u64,
}

/// A daemon that is not ready yet. Dropping it kills the process.
#[derive(Debug)]
pub struct Starting {
    process: Process,
    run_file: PathBuf,
    output: Output,
    patience: Duration,
    began_ns: u64,
}

/// A running daemon. Dropping it kills the process.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    addresses: Addresses,
    output: Output,
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
            environment: Vec::new(),
            under: Vec::new(),
            output: folder.join("daemon.log"),
            patience: Duration::from_secs(60),
        }
    }

    /// Starts the daemon and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started, ends, or is not ready in time; the error shows the end of its output.
    pub async fn start(&self) -> anyhow::Result<Daemon> {
        self.begin()?.ready().await
    }

    /// Starts the process and does not wait.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn begin(&self) -> anyhow::Result<Starting> {
        for folder in [&self.data, &self.modules] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let (output, from) = (self.output.clone(), fs::metadata(&self.output).map_or(0, |about| about.len()));
        let (run_file, patience, began_ns) = (self.data.join("run.json"), self.patience, clock::now_ns());
        Ok(Starting {
            process: Process(self.spawn()?),
            run_file,
            output: Output { path: output, from },
            patience,
            began_ns,
        })
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let output = OpenOptions::new().create(true).append(true).open(&self.output);
        let output = output.with_context(|| format!("cannot write {}", self.output.display()))?;
        let words = self.under.iter().map(OsStr::new).chain([self.binary.as_os_str()]);
        let words: Vec<&OsStr> = words.collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("run").arg("--data").arg(&self.data).arg("--modules").arg(&self.modules);
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]).args(&self.flags);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORDAIN_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        command.spawn().with_context(|| format!("cannot start {}: build it first", self.binary.display()))
    }
}

impl Starting {
    /// Waits until the daemon is ready.
    ///
    /// # Errors
    /// If it ends, or is not ready in time; the error shows the end of its output.
    pub async fn ready(mut self) -> anyhow::Result<Daemon> {
        while clock::since(self.began_ns) < self.patience {
            if let Some(status) = self.process.0.try_wait()? {
                bail!("the daemon did not start: it ended with {status}; its output ends:\n{}", self.output.tail());
            }
            if let Some(addresses) = self.addresses() {
                let took = clock::since(self.began_ns);
                return Ok(Daemon { process: self.process, addresses, output: self.output, took });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let patience = self.patience.as_secs();
        bail!("the daemon was not ready within {patience} s; its output ends:\n{}", self.output.tail())
    }

    /// All that it said so far.
    pub fn said(&self) -> String {
        self.output.text()
    }

    /// Lets it stand still (`SIGSTOP`) until [`Self::resume`].
    ///
    /// # Errors
    /// If it had ended by itself before.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets it go on (`SIGCONT`).
    ///
    /// # Errors
    /// If it had ended before.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Where it is, once it is ready.
    fn addresses(&self) -> Option<Addresses> {
        let addresses: Addresses = serde_json::from_slice(&fs::read(&self.run_file).ok()?).ok()?;
        // A file of an earlier process has another process id in it.
        (addresses.pid == self.process.0.id()).then_some(addresses)
    }

    /// Kills it without warning, and tells whether it had become ready before.
    ///
    /// # Errors
    /// If it had ended by itself.
    pub fn kill(mut self) -> anyhow::Result<bool> {
        if let Some(status) = self.process.0.try_wait()? {
            bail!("the daemon had ended by itself with {status}; its output ends:\n{}", self.output.tail());
        }
        let ready = self.addresses().is_some();
        self.process.0.kill()?;
        self.process.0.wait()?;
        Ok(ready)
    }

    /// Waits until it gives up, and returns what it said.
    ///
    /// # Errors
    /// If it becomes ready, or does neither in time.
    pub async fn refuses(mut self) -> anyhow::Result<String> {
        while clock::since(self.began_ns) < self.patience {
            if let Some(status) = self.process.0.try_wait()? {
                if status.success() {
                    bail!("the daemon ended with {status} instead of saying why it cannot start");
                }
                return Ok(self.output.text());
            }
            if self.addresses().is_some() {
                bail!("the daemon started although it should not have; its output:\n{}", self.output.tail());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("the daemon neither started nor gave up; its output ends:\n{}", self.output.tail())
    }
}

impl Output {
    /// All that this process said.
    fn text(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.from as usize..).unwrap_or_default()).into_owned()
    }

    /// The last lines of it.
    fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
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
        Ok(self.process.0.try_wait()?.is_none())
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        self.output.text()
    }

    /// Lets it stand still (`SIGSTOP`) until [`Self::resume`].
    ///
    /// # Errors
    /// If it had ended by itself before.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets it go on (`SIGCONT`).
    ///
    /// # Errors
    /// If it had ended before.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn ends(mut self, patience: Duration) -> anyhow::Result<(ExitStatus, String)> {
        let start = clock::now_ns();
        while clock::since(start) < patience {
            if let Some(status) = self.process.0.try_wait()? {
                return Ok((status, self.output.text()));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("the daemon did not end within {} s; its output ends:\n{}", patience.as_secs(), self.output.tail())
    }

    /// Kills it without warning (`SIGKILL`) and waits until it is gone.
    ///
    /// # Errors
    /// If it had ended by itself before.
    pub fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.process.0.try_wait()? {
            bail!("the daemon had ended by itself with {status}; its output ends:\n{}", self.output.tail());
        }
        self.process.0.kill()?;
        self.process.0.wait()?;
        Ok(())
    }

    /// Asks it to stop (`SIGTERM`) and waits until it has.
    ///
    /// # Errors
    /// If it does not stop in time, or ended by itself before.
    pub async fn stop(mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        let start = clock::now_ns();
        while clock::since(start) < patience {
            if let Some(status) = self.process.0.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("the daemon did not stop within {} s; its output ends:\n{}", patience.as_secs(), self.output.tail())
    }
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
