//! Brokers that run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::node::Node;
use super::plan::{CONTROLLER, Plan, Spec};
use super::probe::{Coordinated, Partition};
use super::{Secure, home, jars, probe, secure};
use crate::clock::Deadline;
use crate::run::Failed;

/// How long brokers may take until they answer and know each other.
const READY_PATIENCE: Duration = Duration::from_secs(90);

/// A cluster of this machine. One that is private ends with its value; another one runs until it is taken down.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    plan: Plan,
    nodes: Vec<Node>,
    secure: bool,
    guardian: Option<Guardian>,
    /// Whether every node ran when it was looked for.
    pub ran_already: bool,
}

impl Cluster {
    /// Starts what does not run of a cluster and waits until all of it answers. It goes on when this process ends.
    ///
    /// # Errors
    /// [`Failed`] if something is missing (it says what to do), the cluster exists in another shape, or a broker does not
    /// come up: then with the end of its output.
    pub fn up(spec: &Spec) -> Result<Self, Failed> {
        Self::start_all(spec, false)
    }

    /// A cluster of this process alone: it ends and its data goes when the value is dropped, or when the process ends in
    /// any other way.
    ///
    /// # Errors
    /// As [`Self::up`].
    pub fn private(spec: &Spec) -> Result<Self, Failed> {
        Self::start_all(spec, true)
    }

    fn start_all(spec: &Spec, private: bool) -> Result<Self, Failed> {
        spec.checked()?;
        jars::ready()?;
        let folder = home().join(&spec.name);
        let (plan, new) = {
            // Two that start at the same time must not choose the same ports.
            let _lock = locked()?;
            Plan::of(&folder, spec)?
        };
        let spec = &if new { spec.clone() } else { remembered(&folder, spec)? };
        let nodes: Vec<Node> = plan.nodes.iter().map(|ports| Node::of(&folder, *ports)).collect();
        let guardian = if private { Some(Guardian::over(&folder)?) } else { None };
        let mut cluster = Self { folder, plan, nodes, secure: spec.secure, guardian, ran_already: false };
        cluster.ran_already = cluster.nodes.iter_mut().all(|node| node.pid().is_some());
        if !cluster.ran_already {
            // Asked for nothing new, a cluster comes back with the settings that it had.
            let as_it_was = !new && spec.settings.is_empty() && spec.advertised.is_empty();
            cluster.prepare(spec, as_it_was)?;
            cluster.nodes.iter_mut().try_for_each(Node::start)?;
        }
        cluster.wait_ready()?;
        Ok(cluster)
    }

    /// The cluster of that name as it is, running or not. `None` if there is none.
    pub fn find(name: &str) -> Option<Self> {
        let folder = home().join(name);
        let plan = Plan::read(&folder)?;
        let nodes = plan.nodes.iter().map(|ports| Node::of(&folder, *ports)).collect();
        let secure = secure::folder_in(&folder).is_dir();
        Some(Self { folder, plan, nodes, secure, guardian: None, ran_already: false })
    }

    /// The names of all clusters that have a folder.
    pub fn names() -> Vec<String> {
        let folders = fs::read_dir(home()).into_iter().flatten().filter_map(Result::ok);
        let mut names: Vec<String> = folders
            .filter(|entry| Plan::read(&entry.path()).is_some())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Keys, properties, formatted disks.
    fn prepare(&self, spec: &Spec, as_it_was: bool) -> Result<(), Failed> {
        if spec.secure {
            secure::make(&self.folder, &self.plan.nodes)?;
        }
        let mut formats = Vec::new();
        for node in &self.nodes {
            if !(as_it_was && node.is_configured()) {
                node.configure(&self.plan.properties(&node.ports, spec, &self.folder))?;
            }
            formats.extend(node.begin_format(&self.plan.id, spec.secure)?.map(|child| (node, child)));
        }
        for (node, mut child) in formats {
            let status = child.wait().map_err(|error| Failed(format!("Kafka's format was lost: {error}")))?;
            if !status.success() {
                return Err(Failed(format!("a broker's disk was not formatted; its output ends:\n{}", node.said())));
            }
        }
        Ok(())
    }

    /// Waits until every broker answers and knows all of them.
    ///
    /// # Errors
    /// [`Failed`] with the end of a broker's output if one ended or does not answer in time.
    pub fn wait_ready(&mut self) -> Result<(), Failed> {
        let wanted = u32::try_from(self.brokers().len()).unwrap_or(u32::MAX);
        self.wait_until(|node| probe::brokers(node.ports.client) == Some(wanted))
    }

    /// Waits until every broker runs and says that every copy of every partition holds everything: then one of three may
    /// go without stopping writers.
    ///
    /// # Errors
    /// As [`Self::wait_ready`].
    pub fn wait_in_sync(&mut self) -> Result<(), Failed> {
        self.wait_ready()?;
        let whole = |one: &Partition| one.leader.is_some() && one.in_sync == one.copies;
        self.wait_until(|node| probe::partitions(node.ports.client).is_some_and(|all| all.iter().all(whole)))
    }

    /// The broker that leads a partition, in the opinion of broker `asked`. `None` if that one does not answer, or there
    /// is no leader.
    ///
    /// # Errors
    /// [`Failed`] if there is no such broker.
    pub fn leader(&self, asked: u16, topic: &str, partition: u32) -> Result<Option<u16>, Failed> {
        let known = probe::partitions(self.port(asked)?).unwrap_or_default();
        let found = known.into_iter().find(|one| one.topic == topic && one.number == partition);
        Ok(found.and_then(|one| one.leader))
    }

    /// The coordinator of a group or a transactional id, in the opinion of broker `asked`. `None` if that one does not
    /// answer, or there is none now.
    ///
    /// # Errors
    /// [`Failed`] if there is no such broker.
    pub fn coordinator(&self, asked: u16, of: Coordinated<'_>) -> Result<Option<u16>, Failed> {
        Ok(probe::coordinator(self.port(asked)?, of))
    }

    fn wait_until(&mut self, ready: impl Fn(&Node) -> bool) -> Result<(), Failed> {
        let deadline = Deadline::after(READY_PATIENCE);
        for node in &mut self.nodes {
            let mut ended = false;
            let answers = deadline.until(|| {
                ended = node.pid().is_none();
                ended || node.ports.id == CONTROLLER || ready(node)
            });
            if ended || !answers {
                let what = if ended { "ended" } else { "does not answer" };
                let id = node.ports.id;
                return Err(Failed(format!("broker {id} {what}; its output ends:\n{}", node.said())));
            }
        }
        Ok(())
    }

    /// The folder of the cluster.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What clients need, for `bootstrap.servers`: the brokers' own ports, whatever they advertise.
    pub fn bootstrap(&self) -> String {
        self.plan.bootstrap(|node| node.client)
    }

    /// What clients of the secure listener need.
    pub fn secure(&self) -> Option<Secure> {
        let bootstrap = || self.plan.bootstrap(|node| node.secure);
        self.secure.then(|| Secure::of(&self.folder, bootstrap()))
    }

    /// The ids of the brokers, from 1.
    pub fn brokers(&self) -> Vec<u16> {
        self.plan.nodes.iter().map(|node| node.id).filter(|id| *id != CONTROLLER).collect()
    }

    /// The port of a broker for clients.
    ///
    /// # Errors
    /// [`Failed`] if there is no such node.
    pub fn port(&self, id: u16) -> Result<u16, Failed> {
        self.plan.nodes.iter().find(|node| node.id == id).map(|node| node.client).ok_or_else(|| no_node(id))
    }

    /// The port of a node for the controller quorum.
    ///
    /// # Errors
    /// [`Failed`] if there is no such node.
    pub fn controller_port(&self, id: u16) -> Result<u16, Failed> {
        self.plan.nodes.iter().find(|node| node.id == id).map(|node| node.controller).ok_or_else(|| no_node(id))
    }

    /// The number of its nodes.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The number of its nodes that run.
    pub fn running(&mut self) -> usize {
        self.nodes.iter_mut().filter_map(Node::pid).count()
    }

    fn node(&mut self, id: u16) -> Result<&mut Node, Failed> {
        self.nodes.iter_mut().find(|node| node.ports.id == id).ok_or_else(|| no_node(id))
    }

    /// Kills a node without warning (`SIGKILL`) and waits until it is gone.
    ///
    /// # Errors
    /// [`Failed`] if there is no such node, or it does not go.
    pub fn kill(&mut self, id: u16) -> Result<(), Failed> {
        self.node(id)?.kill()
    }

    /// Asks a node to end (`SIGTERM`) and waits until it is gone.
    ///
    /// # Errors
    /// As [`Self::kill`].
    pub fn stop(&mut self, id: u16) -> Result<(), Failed> {
        self.node(id)?.stop()
    }

    /// Lets a node stand still (`SIGSTOP`).
    ///
    /// # Errors
    /// [`Failed`] if there is no such node.
    pub fn pause(&mut self, id: u16) -> Result<(), Failed> {
        self.node(id)?.signal("STOP").map(drop)
    }

    /// Lets a node go on (`SIGCONT`).
    ///
    /// # Errors
    /// [`Failed`] if there is no such node.
    pub fn resume(&mut self, id: u16) -> Result<(), Failed> {
        self.node(id)?.signal("CONT").map(drop)
    }

    /// Starts a node that was killed or stopped, on its data and ports; does not wait ([`Self::wait_ready`]).
    ///
    /// # Errors
    /// [`Failed`] if there is no such node, or Java cannot be started.
    pub fn start(&mut self, id: u16) -> Result<(), Failed> {
        self.node(id)?.start()
    }

    /// Stops every node; data and ports stay, and [`Self::up`] goes on with them.
    ///
    /// # Errors
    /// [`Failed`] if one does not end.
    pub fn stop_all(&mut self) -> Result<(), Failed> {
        // All at once: a broker that ends asks the others to take over, and would wait for one that is gone.
        for node in &mut self.nodes {
            node.signal("CONT")?;
            node.signal("TERM")?;
        }
        self.nodes.iter_mut().try_for_each(Node::stop)
    }

    /// Kills every node and removes the cluster's folder.
    ///
    /// # Errors
    /// [`Failed`] if a node does not end or the folder does not go.
    pub fn remove(&mut self) -> Result<(), Failed> {
        self.nodes.iter_mut().try_for_each(Node::kill)?;
        fs::remove_dir_all(&self.folder)
            .map_err(|error| Failed(format!("cannot remove {}: {error}", self.folder.display())))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.guardian.is_some() {
            // Best effort: the guardian, which is let go next, does the same.
            let _tried = self.remove();
        }
    }
}

/// What is asked for of a cluster that exists: its secure listener stays, and its users cannot be made any more.
pub(super) fn remembered(folder: &Path, spec: &Spec) -> Result<Spec, Failed> {
    let secure = secure::folder_in(folder).is_dir();
    if spec.secure && !secure {
        let name = &spec.name;
        return Err(Failed(format!(
            "cluster {name} exists without a secure listener: `cargo xtask kafka down --name {name}` first, which removes \
             its data"
        )));
    }
    Ok(Spec { secure, ..spec.clone() })
}

fn no_node(id: u16) -> Failed {
    Failed(format!("the cluster has no node {id}"))
}

/// Held while ports are chosen.
fn locked() -> Result<File, Failed> {
    let file = File::create(home().join(".ports.lock")).and_then(|file| file.lock().map(|()| file));
    file.map_err(|error| Failed(format!("cannot write below {}: {error}", home().display())))
}

/// A shell that waits for the end of its input, which comes with the end of this process however it ends, and then kills
/// the cluster: a test that was killed leaves no brokers behind.
#[derive(Debug)]
struct Guardian {
    child: Child,
    input: Option<ChildStdin>,
}

impl Guardian {
    fn over(folder: &Path) -> Result<Self, Failed> {
        const WATCH: &str =
            "read -r _; for f in \"$0\"/node-*/pid; do kill -s KILL \"$(cat \"$f\")\"; done; rm -rf \"$0\"";
        let mut command = Command::new("sh");
        command.arg("-c").arg(WATCH).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // It must outlive a key pressed in the terminal.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|error| Failed(format!("cannot run sh: {error}")))?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ended = self.child.wait();
    }
}
