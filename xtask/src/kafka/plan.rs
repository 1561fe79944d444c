//! What a cluster is to be: brokers, ports, settings. Decided once and written down, so that a cluster which is started
//! again has the same data at the same addresses.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use super::secure;
use crate::run::Failed;

/// The id of the controller that stands alone ([`Spec::separate_controller`]); brokers count from 1.
pub const CONTROLLER: u16 = 100;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The cluster's name: its folder below `target/kafka`.
    pub name: String,
    /// Brokers: 1 or 3 are what is tried.
    pub brokers: u16,
    /// More broker properties, which win over ours.
    pub settings: Vec<(String, String)>,
    /// A second listener which demands TLS and a password.
    pub secure: bool,
    /// The ports clients are told instead of the brokers' own, one per broker: a proxy's. Empty for none.
    pub advertised: Vec<u16>,
    /// The controller is a process of its own, [`CONTROLLER`], and not one of the brokers.
    pub separate_controller: bool,
    /// The port brokers are told for that controller instead of its own: a proxy's.
    pub controller_advertised: Option<u16>,
}

impl Spec {
    /// One broker, nothing special.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            brokers: 1,
            settings: Vec::new(),
            secure: false,
            advertised: Vec::new(),
            separate_controller: false,
            controller_advertised: None,
        }
    }

    /// # Errors
    /// [`Failed`] if no cluster can be like that.
    pub fn checked(&self) -> Result<(), Failed> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(plain) || self.name == "libs" {
            return Err(Failed(format!("`{}` cannot be a cluster's name: use letters, digits and -", self.name)));
        }
        if !(1..=9).contains(&self.brokers) {
            return Err(Failed(format!("{} brokers: 1 to 9 are possible, 1 and 3 make sense", self.brokers)));
        }
        if !self.advertised.is_empty() && self.advertised.len() != usize::from(self.brokers) {
            let (ports, brokers) = (self.advertised.len(), self.brokers);
            return Err(Failed(format!("{ports} advertised ports for {brokers} brokers: name one for each")));
        }
        Ok(())
    }
}

/// Where one node listens on the loopback interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The node.
    pub id: u16,
    /// Clients.
    pub client: u16,
    /// Other brokers: never through a client's proxy.
    pub internal: u16,
    /// The controller quorum.
    pub controller: u16,
    /// Clients with TLS and a password.
    pub secure: u16,
}

/// A cluster's identity and addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The cluster id, as Kafka writes it.
    pub id: String,
    /// All nodes; a separate controller is the last one.
    pub nodes: Vec<Ports>,
}

const FILE: &str = "plan";

impl Plan {
    /// The plan of a folder; a new one is made and written down where there is none.
    ///
    /// # Errors
    /// [`Failed`] if the folder's cluster has another shape, or nothing can be written.
    pub fn of(folder: &Path, spec: &Spec) -> Result<(Self, bool), Failed> {
        if let Some(plan) = Self::read(folder) {
            let wanted = spec.brokers + u16::from(spec.separate_controller);
            if plan.nodes.len() == usize::from(wanted) {
                return Ok((plan, false));
            }
            return Err(Failed(format!(
                "cluster {} exists with {} nodes, and {wanted} were asked for: `cargo xtask kafka down --name {}` \
                 removes it, another --name makes one beside it",
                spec.name,
                plan.nodes.len(),
                spec.name
            )));
        }
        let plan = Self::new(spec)?;
        let cannot = |error| Failed(format!("cannot write below {}: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(cannot)?;
        fs::write(folder.join(FILE), plan.text()).map_err(cannot)?;
        Ok((plan, true))
    }

    /// The plan of a folder, if it holds a cluster.
    pub fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(FILE)).ok()?;
        let mut lines = text.lines();
        let id = lines.next()?.to_owned();
        let nodes = lines.map(|line| {
            let numbers: Vec<u16> = line.split(' ').map_while(|word| word.parse().ok()).collect();
            let [id, client, internal, controller, secure] = numbers[..] else { return None };
            Some(Ports { id, client, internal, controller, secure })
        });
        Some(Self { id, nodes: nodes.collect::<Option<_>>()? })
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.id);
        for Ports { id, client, internal, controller, secure } in &self.nodes {
            text.push_str(&format!("{id} {client} {internal} {controller} {secure}\n"));
        }
        text
    }

    fn new(spec: &Spec) -> Result<Self, Failed> {
        let mut ids: Vec<u16> = (1..=spec.brokers).collect();
        if spec.separate_controller {
            ids.push(CONTROLLER);
        }
        let ports = free_ports(ids.len() * 4)?;
        let nodes = ids.iter().zip(ports.chunks_exact(4)).map(|(&id, ports)| Ports {
            id,
            client: ports[0],
            internal: ports[1],
            controller: ports[2],
            secure: ports[3],
        });
        Ok(Self { id: cluster_id(), nodes: nodes.collect() })
    }

    /// Where clients find the brokers.
    pub fn bootstrap(&self, port: impl Fn(&Ports) -> u16) -> String {
        let brokers = self.nodes.iter().filter(|node| node.id != CONTROLLER);
        brokers.map(|node| format!("127.0.0.1:{}", port(node))).collect::<Vec<_>>().join(",")
    }

    /// Whether the controller is a process of its own.
    pub fn separate_controller(&self) -> bool {
        self.nodes.iter().any(|node| node.id == CONTROLLER)
    }

    /// One node's properties, in Kafka's format.
    pub fn properties(&self, node: &Ports, spec: &Spec, folder: &Path) -> String {
        let mut all = Properties::default();
        self.addresses(node, spec, &mut all);
        for (key, value) in FIXED {
            all.set(key, value);
        }
        // Every record on every broker where there are three, and a write needs two of them; one broker has one copy.
        let (copies, min) = if spec.brokers >= 3 { ("3", "2") } else { ("1", "1") };
        for key in COPIES {
            all.set(key, copies);
        }
        for key in IN_SYNC {
            all.set(key, min);
        }
        all.set("log.dirs", &data(folder, node.id).to_string_lossy());
        if spec.secure && node.id != CONTROLLER {
            secure::properties(folder, |key, value| all.set(key, value));
        }
        for (key, value) in &spec.settings {
            all.set(key, value);
        }
        all.text()
    }

    fn addresses(&self, node: &Ports, spec: &Spec, all: &mut Properties) {
        let separate = self.separate_controller();
        let voters = self.nodes.iter().filter(|one| !separate || one.id == CONTROLLER).map(|one| {
            let port = if separate { spec.controller_advertised.unwrap_or(one.controller) } else { one.controller };
            format!("{}@127.0.0.1:{port}", one.id)
        });
        let controls = !separate || node.id == CONTROLLER;
        let serves = node.id != CONTROLLER;
        let mut listeners = Vec::new();
        let mut advertised = Vec::new();
        if serves {
            let told = spec.advertised.get(usize::from(node.id) - 1).copied().unwrap_or(node.client);
            listeners.push(format!("PLAINTEXT://127.0.0.1:{}", node.client));
            advertised.push(format!("PLAINTEXT://127.0.0.1:{told}"));
            let mut own = vec![format!("INTERNAL://127.0.0.1:{}", node.internal)];
            if spec.secure {
                own.push(format!("SECURE://127.0.0.1:{}", node.secure));
            }
            listeners.extend(own.iter().cloned());
            advertised.extend(own);
            all.set("inter.broker.listener.name", "INTERNAL");
        }
        if controls {
            listeners.push(format!("CONTROLLER://127.0.0.1:{}", node.controller));
            let told = spec.controller_advertised.filter(|_| separate).unwrap_or(node.controller);
            advertised.push(format!("CONTROLLER://127.0.0.1:{told}"));
        }
        let roles = match (serves, controls) {
            (true, true) => "broker,controller",
            (true, false) => "broker",
            (false, _) => "controller",
        };
        all.set("process.roles", roles);
        all.set("node.id", &node.id.to_string());
        all.set("controller.quorum.voters", &voters.collect::<Vec<_>>().join(","));
        all.set("controller.listener.names", "CONTROLLER");
        all.set("listeners", &listeners.join(","));
        all.set("advertised.listeners", &advertised.join(","));
        let protocols = "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL";
        all.set("listener.security.protocol.map", protocols);
    }
}

/// A small machine's broker, and limits that let tests use sessions and transactions of a second.
const FIXED: [(&str, &str); 11] = [
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
    ("offsets.topic.num.partitions", "4"),
    ("transaction.state.log.num.partitions", "4"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    ("group.consumer.min.heartbeat.interval.ms", "100"),
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500"),
    ("auto.create.topics.enable", "false"),
    ("log.cleaner.dedupe.buffer.size", "2097152"),
];
const COPIES: [&str; 4] = [
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "share.coordinator.state.topic.replication.factor",
];
const IN_SYNC: [&str; 3] =
    ["min.insync.replicas", "transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr"];

/// Properties in order; a later value of a key takes the earlier one's place.
#[derive(Default)]
struct Properties(Vec<(String, String)>);

impl Properties {
    fn set(&mut self, key: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((key.to_owned(), value.to_owned())),
        }
    }

    fn text(&self) -> String {
        // Java reads a backslash as the start of an escape.
        self.0.iter().map(|(key, value)| format!("{key}={}\n", value.replace('\\', "\\\\"))).collect()
    }
}

/// The folder of one node.
pub fn node_folder(folder: &Path, id: u16) -> PathBuf {
    folder.join(format!("node-{id}"))
}

/// Where one node keeps its records.
pub fn data(folder: &Path, id: u16) -> PathBuf {
    node_folder(folder, id).join("data")
}

/// 16 random bytes in the URL's base 64, as Kafka writes ids. The standard library's random hash keys are the source:
/// an id must be unlike others, not secret.
fn cluster_id() -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // An id that begins with a dash would be taken for a flag of the tool that formats disks: its first bit is zero.
    let (high, low) = (random() >> 1, random());
    let bits = (u128::from(high) << 64) | u128::from(low);
    // 22 digits hold 132 bits: the last digit has two of them, and four zeros.
    let digit = |n: u32| if n < 21 { (bits >> (122 - 6 * n)) & 63 } else { (bits & 3) << 4 };
    (0..22).map(|n| char::from(DIGITS[digit(n) as usize])).collect()
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Free ports below the range that the system gives to outgoing connections: one of those could sit on the port of a
/// broker that is down for a moment, and it could not come back.
fn free_ports(count: usize) -> Result<Vec<u16>, Failed> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let lowest = range.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(32_768_u16);
    let (low, high) = if lowest > 20_000 { (10_000, lowest) } else { (20_000, u16::MAX) };
    let width = u64::from(high - low);
    let mut held = Vec::new();
    let start = random() % width;
    for n in 0..width {
        let port = low + u16::try_from((start + n) % width).unwrap_or(0);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
        if held.len() == count {
            return Ok(held.into_iter().map(|(port, _)| port).collect());
        }
    }
    Err(Failed(format!("there are no {count} free ports between {low} and {high} on 127.0.0.1")))
}
