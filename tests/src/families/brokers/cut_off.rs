//! A broker that is cut off from the controller, and from nobody else: it goes on believing that it leads its partitions
//! and serves what it has, while their real leaders go on without it. Whoever takes a lane then and trusts what that
//! broker says is the end of the log decides on stale state (R2).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use xtask::kafka::{CONTROLLER, Cluster};

use super::apart;
use crate::daemon::eventually;
use crate::dice::Dice;
use crate::fleet::load::Load;
use crate::fleet::{Fleet, PARTITIONS};

/// Time for the controller to notice that a broker is silent, and to let others lead.
const NOTICED: Duration = Duration::from_secs(60);
/// A client's name is somewhere in the first bytes of a connection.
const HEAD: usize = 64;

/// Brokers that are cut off from their controller, and how many answers are heard between two things that happen.
pub(super) struct Broken<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) line: &'a Line,
    pub(super) between: u64,
}

/// Cuts off a broker; a host is killed and started again while it is.
pub(super) async fn run(
    Broken { cluster, line, between }: Broken<'_>,
    broker: u16,
    fleet: &mut Fleet,
    load: &mut Load,
    dice: &mut Dice,
) -> anyhow::Result<()> {
    let events = fleet.log.events();
    let other = cluster.brokers().into_iter().find(|one| *one != broker).context("there are other brokers")?;
    let before = apart(|| leaders(cluster, other, &events))?;
    line.cut(broker);
    eventually("other brokers leading", NOTICED, || async {
        let now = apart(|| leaders(cluster, other, &events)).ok()?;
        now.iter().all(|one| one.is_some_and(|leader| leader != broker)).then_some(())
    })
    .await?;
    // Hosts take lanes while it is there.
    let gone = dice.below(fleet.count() as u64) as usize;
    fleet.kill(gone)?;
    load.hears(between).await.context("without a host")?;
    let believes = apart(|| leaders(cluster, broker, &events))?;
    ensure!(believes == before, "broker {broker} was to believe that {before:?} lead, and says {believes:?}");
    fleet.start_again(gone).await?;
    load.hears(between).await?;
    line.mend();
    apart(|| cluster.wait_in_sync())?;
    load.hears(between).await?;
    fleet.all_run()
}

/// The leader of each partition of a topic, in the opinion of a broker.
fn leaders(cluster: &Cluster, asked: u16, topic: &str) -> Result<Vec<Option<u16>>, xtask::run::Failed> {
    (0..PARTITIONS).map(|partition| cluster.leader(asked, topic, partition)).collect()
}

/// The way of brokers to their controller, which can be cut for one of them. Brokers share it; who speaks is told by the
/// name that a client of Kafka gives itself.
pub(super) struct Line {
    port: u16,
    cut: watch::Sender<Option<u16>>,
}

impl Line {
    /// One to the controller of a cluster, which is started later.
    pub(super) async fn to(cluster: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (cut, is_cut) = watch::channel(None);
        let cluster = cluster.to_owned();
        tokio::spawn(async move {
            // Ends with the runtime.
            while let Ok((broker, _)) = listener.accept().await {
                tokio::spawn(carry(broker, cluster.clone(), is_cut.clone()));
            }
        });
        Ok(Self { port, cut })
    }

    /// What brokers are told to be the controller's port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    fn cut(&self, broker: u16) {
        self.cut.send_replace(Some(broker));
    }

    fn mend(&self) {
        self.cut.send_replace(None);
    }
}

/// Carries one connection until either side ends it or its broker is cut off.
async fn carry(mut broker: TcpStream, cluster: String, mut cut: watch::Receiver<Option<u16>>) -> Option<()> {
    let id = speaker(&broker).await?;
    if *cut.borrow() == Some(id) {
        return None;
    }
    // It is written down where it will be before any broker starts.
    let port = Cluster::find(&cluster)?.controller_port(CONTROLLER).ok()?;
    let mut controller = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    // Neither is polled again after the other has ended.
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut broker, &mut controller) => {}
        _ = cut.wait_for(|cut| *cut == Some(id)) => {}
    }
    None
}

/// The broker that speaks, from the name in its first request: `1`, or `raft-client-1`.
async fn speaker(broker: &TcpStream) -> Option<u16> {
    // Length, kind, version and number of the request; then the name's length.
    const NAME: usize = 14;
    let mut head = [0; HEAD];
    loop {
        let there = broker.peek(&mut head).await.ok().filter(|there| *there > 0)?;
        let length = usize::from(u16::from_be_bytes([head[NAME - 2], head[NAME - 1]]));
        if there >= NAME && (there >= NAME + length || there == HEAD) {
            let name = std::str::from_utf8(head.get(NAME..NAME + length)?).ok()?;
            return name.rsplit('-').next()?.parse().ok();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
