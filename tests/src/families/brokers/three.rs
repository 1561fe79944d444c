//! Three brokers, as a cluster is that must not lose an answer: the leader of a partition of events, the coordinator of a
//! lane's transactions and that of the group are killed under load, each back before the next one goes. Then each is cut
//! off from the controller in turn.

use anyhow::Context as _;
use xtask::kafka::{Cluster, Coordinated, Spec};

use super::cut_off::{Broken, Line};
use super::{apart, between, cluster, cut_off, spec};
use crate::dice::Dice;
use crate::field::{Counts, Field};
use crate::fleet::load::Load;
use crate::fleet::{Fleet, LANES, PARTITIONS, SharedLog};

/// Whoever is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    LeaderOfEvents,
    CoordinatorOfLane,
    CoordinatorOfGroup,
}

const VICTIMS: [Victim; 3] = [Victim::LeaderOfEvents, Victim::CoordinatorOfLane, Victim::CoordinatorOfGroup];

pub(super) async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut spec = Spec { brokers: 3, separate_controller: true, ..spec("three") };
    let line = Line::to(&spec.name).await?;
    spec.controller_advertised = Some(line.port());
    // So that the controller notices within seconds who is gone.
    spec.settings = [("broker.session.timeout.ms", "3000"), ("broker.heartbeat.interval.ms", "500")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let mut cluster = cluster(&spec)?;
    let log = SharedLog::new(&cluster.bootstrap(), "three").with("production = true\n");
    let mut fleet = Fleet::start(field, log, 2).await?;
    let mut load = Load::start(fleet.addresses());
    let mut dice = Dice::new(field.seed, "three brokers");
    for victim in VICTIMS {
        load.hears(between(field)).await?;
        apart(|| cluster.wait_in_sync())?;
        let broker = find(&cluster, &fleet.log, victim, &mut dice)?;
        apart(|| cluster.kill(broker))?;
        // The other two go on.
        load.hears(between(field)).await.with_context(|| format!("without broker {broker}, {victim:?}"))?;
        apart(|| cluster.start(broker))?;
        load.hears(between(field)).await?;
        fleet.all_run()?;
    }
    for victim in VICTIMS {
        apart(|| cluster.wait_in_sync())?;
        let broker = find(&cluster, &fleet.log, victim, &mut dice)?;
        let broken = Broken { cluster: &mut cluster, line: &line, between: between(field) };
        let cut = cut_off::run(broken, broker, &mut fleet, &mut load, &mut dice).await;
        cut.with_context(|| format!("with broker {broker}, {victim:?}, cut off from the controller"))?;
    }
    let mut counts = fleet.judge(field, load).await?;
    counts.extend([("brokers killed", 3), ("brokers cut off", 3)]);
    Ok(counts)
}

/// The broker that has this part now, in the opinion of the first one.
fn find(cluster: &Cluster, log: &SharedLog, victim: Victim, dice: &mut Dice) -> anyhow::Result<u16> {
    let asked = cluster.brokers()[0];
    let group = log.group();
    let id = log.transactional_id(dice.below(LANES.into()) as u32);
    let partition = dice.below(PARTITIONS.into()) as u32;
    let found = apart(|| match victim {
        Victim::LeaderOfEvents => cluster.leader(asked, &log.events(), partition),
        Victim::CoordinatorOfLane => cluster.coordinator(asked, Coordinated::Transactions(&id)),
        Victim::CoordinatorOfGroup => cluster.coordinator(asked, Coordinated::Group(&group)),
    })?;
    found.with_context(|| format!("broker {asked} knows no {victim:?}"))
}
