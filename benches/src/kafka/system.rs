//! The systems that are measured, each a process of its own on topics of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use ordain_tests::clock;
use ordain_tests::daemon::{Daemon, Launch, Starting};
use rustix::process::{Pid, Signal, kill_process};

use super::{LANES, PARTITIONS, Setting};

/// How long a process may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(90);
/// Kafka Streams' commit interval in milliseconds, longest wait for commands and the producer's linger, as experts set
/// them for latency: two ways, because which is better depends on the load.
const FAST: [&str; 3] = ["commit.interval.ms=5", "poll.ms=2", "producer.linger.ms=0"];
/// See [`FAST`].
const CALM: [&str; 3] = ["commit.interval.ms=20", "poll.ms=5", "producer.linger.ms=0"];

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// The daemon with the bank's module.
    Ordain,
    /// Kafka Streams with its persistent store, at its defaults.
    Defaults,
    /// The same, committing every 5 ms.
    Fast,
    /// The same, committing every 20 ms.
    Calm,
    /// Kafka Streams with a store in memory, at its defaults.
    Memory,
    /// The KTable join that people write first.
    Naive,
    /// A copy without rules, on Ordain's consumer and producer.
    Floor,
}

impl System {
    /// As figures name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ordain => "ordain",
            Self::Defaults => "streams_defaults",
            Self::Fast => "streams_commit_5_ms",
            Self::Calm => "streams_commit_20_ms",
            Self::Memory => "streams_in_memory",
            Self::Naive => "streams_ktable_join",
            Self::Floor => "floor",
        }
    }
}

/// A system's place: its folder and the prefix of its topics.
#[derive(Debug, Clone)]
pub struct Place {
    /// What runs there.
    pub system: System,
    /// What the names of its topics begin with.
    pub prefix: String,
    folder: PathBuf,
    launch: Launch,
}

/// A running system. It is killed when dropped.
pub enum Running {
    /// The daemon.
    Daemon(Box<Daemon>),
    /// The daemon, not ready yet.
    Starting(Starting),
    /// Another process.
    Process(Process),
}

/// A process that is killed when dropped.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

impl Place {
    /// Makes folder, settings and topics for a part of the run: those that `ordain topics create` makes, for every system.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn make(setting: &Setting, system: System, part: &str) -> anyhow::Result<Self> {
        // A broker may be used for several runs.
        let prefix = format!("bench-{}-{part}-{}.", std::process::id(), system.name());
        let folder = setting.folder.join(prefix.trim_end_matches('.'));
        let launch = Launch { patience: PATIENCE, ..Launch::below(&setting.ordain, &folder) };
        fs::create_dir_all(&launch.modules)?;
        fs::copy(setting.guests.join("bank-v1.wasm"), launch.modules.join("bank-v1.wasm"))?;
        let config = folder.join("ordain.toml");
        let text = format!(
            "partitions = {PARTITIONS}\nlanes = {LANES}\n[log]\nkind = \"kafka\"\nbrokers = \"{}\"\nprefix = \"{prefix}\"\n\
             instance = \"ordain\"\n",
            setting.brokers
        );
        fs::write(&config, text)?;
        let config = config.display().to_string();
        let made = Command::new(&setting.ordain).args(["topics", "create", "account", "--config", &config]).output()?;
        ensure!(made.status.success(), "topics were not made: {}", String::from_utf8_lossy(&made.stderr));
        let flags = vec!["--config".to_owned(), config];
        Ok(Self { system, prefix, folder, launch: Launch { flags, ..launch } })
    }

    /// Starts the system and waits until it says that it runs.
    ///
    /// # Errors
    /// If it does not; with the end of its output.
    pub fn start(&self, setting: &Setting) -> anyhow::Result<Running> {
        match self.begin(setting)? {
            Running::Starting(starting) => Ok(Running::Daemon(Box::new(setting.block_on(starting.ready())?))),
            running => {
                self.wait_until(|text| text.lines().any(|line| line == "RUNNING"))?;
                Ok(running)
            }
        }
    }

    /// Starts the process and does not wait.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn begin(&self, setting: &Setting) -> anyhow::Result<Running> {
        let (store, properties) = match self.system {
            System::Ordain => return Ok(Running::Starting(self.launch.begin()?)),
            System::Floor => return self.spawn(&mut setting.floor(&self.prefix)),
            System::Defaults => ("persistent", &[][..]),
            System::Fast => ("persistent", &FAST[..]),
            System::Calm => ("persistent", &CALM[..]),
            System::Memory => ("memory", &[][..]),
            System::Naive => ("naive", &[][..]),
        };
        let classes = format!("{}:{}", setting.peer.join("peer.jar").display(), setting.peer.join("libs/*").display());
        let mut java = Command::new("java");
        java.args(["-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &classes, "peer.Peer"]);
        java.arg(&setting.brokers).arg(&self.prefix).arg(self.state()).arg(store).args(properties);
        self.spawn(&mut java)
    }

    fn spawn(&self, command: &mut Command) -> anyhow::Result<Running> {
        let output = File::create(self.output())?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Running::Process(Process(child)))
    }

    fn wait_until(&self, ready: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let start = clock::now_ns();
        loop {
            let text = fs::read_to_string(self.output()).unwrap_or_default();
            if ready(&text) {
                return Ok(());
            }
            if clock::since(start) > PATIENCE {
                let tail: Vec<&str> = text.lines().rev().take(20).collect();
                bail!(
                    "{} did not run in time; its last lines, the last first:\n{}",
                    self.system.name(),
                    tail.join("\n")
                );
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Removes what the system keeps on disk: it has the topics alone.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn wipe(&self) -> anyhow::Result<()> {
        for kept in [self.state(), self.launch.data.clone()].iter().filter(|folder| folder.exists()) {
            fs::remove_dir_all(kept)?;
        }
        Ok(())
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn output(&self) -> PathBuf {
        self.folder.join("output.log")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Running {
    /// The process.
    pub fn pid(&self) -> u32 {
        match self {
            Self::Daemon(daemon) => daemon.addresses().pid,
            Self::Starting(_) => 0,
            Self::Process(process) => process.0.id(),
        }
    }

    /// Kills it without warning.
    ///
    /// # Errors
    /// If it had ended before.
    pub fn kill(self) -> anyhow::Result<()> {
        match self {
            Self::Daemon(daemon) => daemon.kill(),
            Self::Starting(starting) => starting.kill().map(drop),
            Self::Process(mut process) => {
                ensure!(process.0.try_wait()?.is_none(), "it had ended by itself");
                drop(process);
                Ok(())
            }
        }
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// If it does not.
    pub fn stop(self, setting: &Setting) -> anyhow::Result<()> {
        match self {
            Self::Daemon(daemon) => setting.block_on(daemon.stop(PATIENCE)).map(drop),
            Self::Starting(starting) => {
                setting.block_on(async { starting.ready().await?.stop(PATIENCE).await }).map(drop)
            }
            Self::Process(mut process) => {
                kill_process(Pid::from_child(&process.0), Signal::TERM)?;
                let start = clock::now_ns();
                while process.0.try_wait()?.is_none() {
                    ensure!(clock::since(start) < PATIENCE, "it does not stop");
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                Ok(())
            }
        }
    }
}
