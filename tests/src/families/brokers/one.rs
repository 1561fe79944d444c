//! One broker for everything, stopped and killed under load: while it is away nothing is answered, afterwards everything
//! goes on, with the same hosts.

use super::{apart, between, cluster, spec};
use crate::field::{Counts, Field};
use crate::fleet::load::Load;
use crate::fleet::{Fleet, SharedLog};

/// The broker.
const BROKER: u16 = 1;
/// Times that it goes: it is asked to stop the first time, and killed the next.
const TIMES: u64 = 2;

pub(super) async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut cluster = cluster(&spec("one"))?;
    let mut fleet = Fleet::start(field, SharedLog::new(&cluster.bootstrap(), "one"), 2).await?;
    let mut load = Load::start(fleet.addresses());
    for time in 0..TIMES {
        load.hears(between(field)).await?;
        apart(|| if time % 2 == 0 { cluster.stop(BROKER) } else { cluster.kill(BROKER) })?;
        apart(|| cluster.start(BROKER).and_then(|()| cluster.wait_ready()))?;
        load.hears(between(field)).await?;
        fleet.all_run()?;
    }
    let mut counts = fleet.judge(field, load).await?;
    counts.insert("broker restarts", TIMES);
    Ok(counts)
}
