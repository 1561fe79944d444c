//! One node's process, found by its process id whoever started it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::plan::{Ports, data, node_folder};
use super::{secure, tool};
use crate::clock::Deadline;
use crate::run::Failed;

/// The heap of a broker: enough for everything the repository does with one.
const HEAP_MIB: u32 = 512;
/// How long a broker may take to close its files.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// A node of a cluster.
#[derive(Debug)]
pub struct Node {
    /// Where it listens.
    pub ports: Ports,
    folder: PathBuf,
    data: PathBuf,
    /// Its process, if this one started it: a parent must take note of its child's end.
    child: Option<Child>,
}

impl Node {
    /// The node of a cluster's folder, running or not.
    pub fn of(cluster: &Path, ports: Ports) -> Self {
        Self { ports, folder: node_folder(cluster, ports.id), data: data(cluster, ports.id), child: None }
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }

    fn cannot(&self, what: &str, error: &std::io::Error) -> Failed {
        Failed(format!("cannot {what} {}: {error}", self.folder.display()))
    }

    /// Whether it has properties.
    pub fn is_configured(&self) -> bool {
        self.settings().is_file()
    }

    /// Writes its properties.
    ///
    /// # Errors
    /// [`Failed`] if it cannot.
    pub fn configure(&self, properties: &str) -> Result<(), Failed> {
        let written = fs::create_dir_all(&self.folder).and_then(|()| fs::write(self.settings(), properties));
        written.map_err(|error| self.cannot("write", &error))
    }

    /// Begins to format its data directory; `None` if it is formatted. Several nodes do so at the same time.
    ///
    /// # Errors
    /// [`Failed`] if Java cannot be started.
    pub fn begin_format(&self, cluster_id: &str, with_users: bool) -> Result<Option<Child>, Failed> {
        if self.data.join("meta.properties").is_file() {
            return Ok(None);
        }
        let mut command = tool::java(64, "kafka.tools.StorageTool");
        command.args(["format", "-t", cluster_id, "-c"]).arg(self.settings());
        if with_users {
            for user in secure::scram() {
                command.args(["--add-scram", &user]);
            }
        }
        let output = self.output()?;
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(|e| self.cannot("write", &e))?).stderr(output);
        command.spawn().map(Some).map_err(|error| Failed(format!("cannot run java: {error}")))
    }

    /// Its output, appended to.
    fn output(&self) -> Result<File, Failed> {
        let file = OpenOptions::new().create(true).append(true).open(self.log());
        file.map_err(|error| self.cannot("write", &error))
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// Starts it unless it runs.
    ///
    /// # Errors
    /// [`Failed`] if Java cannot be started.
    pub fn start(&mut self) -> Result<(), Failed> {
        if self.pid().is_some() {
            return Ok(());
        }
        let output = self.output()?;
        let mut command = tool::java(HEAP_MIB, "kafka.Kafka");
        command.arg(self.settings()).stdin(Stdio::null());
        command.stdout(output.try_clone().map_err(|error| self.cannot("write", &error))?).stderr(output);
        // A key pressed in the terminal of who started it is not meant for it.
        command.process_group(0);
        let child = command.spawn().map_err(|error| Failed(format!("cannot run java: {error}")))?;
        fs::write(self.pid_file(), child.id().to_string()).map_err(|error| self.cannot("write", &error))?;
        self.child = Some(child);
        Ok(())
    }

    /// Its process id while it runs. A file of an earlier life says nothing: the process must be this node's.
    pub fn pid(&mut self) -> Option<u32> {
        // A child that has ended stays in the system's list until it is asked for.
        if let Some(child) = &mut self.child {
            if matches!(child.try_wait(), Ok(None)) {
                // Ours for certain; its command line may not be there yet.
                return Some(child.id());
            }
            self.child = None;
        }
        let pid: u32 = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let settings = self.settings();
        let own = settings.to_string_lossy();
        words.split(|byte| *byte == 0).any(|word| word == own.as_bytes()).then_some(pid)
    }

    /// Sends its process a signal: `KILL`, `STOP`, `CONT`, `TERM`. Whether there was one.
    ///
    /// # Errors
    /// [`Failed`] if the signal could not be sent.
    pub fn signal(&mut self, signal: &str) -> Result<bool, Failed> {
        let Some(pid) = self.pid() else { return Ok(false) };
        // The shell's own `kill`: a small machine may have no program of that name.
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid.to_string()]).status();
        match sent {
            Ok(status) if status.success() || self.pid().is_none() => Ok(true),
            Ok(status) => Err(Failed(format!("process {pid} could not be sent SIG{signal}: {status}"))),
            Err(error) => Err(Failed(format!("cannot run sh: {error}"))),
        }
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// [`Failed`] if it does not go.
    pub fn kill(&mut self) -> Result<(), Failed> {
        self.signal("KILL")?;
        if Deadline::after(STOP_PATIENCE).until(|| self.pid().is_none()) {
            return Ok(());
        }
        Err(Failed(format!("the broker of {} does not end although it was killed", self.folder.display())))
    }

    /// Asks it to close its files and end, and kills it if it takes too long.
    ///
    /// # Errors
    /// As [`Self::kill`].
    pub fn stop(&mut self) -> Result<(), Failed> {
        self.signal("TERM")?;
        if Deadline::after(STOP_PATIENCE).until(|| self.pid().is_none()) { Ok(()) } else { self.kill() }
    }

    /// The last lines it said.
    pub fn said(&self) -> String {
        let bytes = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}
