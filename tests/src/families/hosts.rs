//! Several hosts that share the lanes of one log on a real Kafka broker: killed, stopped and started under load. Whatever
//! dies, every command is answered once, by whichever host owns its lane then, and its events are there once and whole.

use crate::field::{Counts, Field};
use crate::fleet::load::Load;
use crate::fleet::{self, Fleet, SharedLog};

/// Answers heard between two of them.
const BETWEEN: u64 = 300;

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let Some(brokers) = fleet::brokers(field) else { return Ok(Counts::new()) };
    let mut fleet = Fleet::start(field, SharedLog::new(&brokers, "hosts"), 2).await?;
    let mut load = Load::start(fleet.addresses());
    let rounds = field.pick(3, 6);
    for round in 0..rounds {
        load.hears(BETWEEN).await?;
        let at = (round % 2) as usize;
        if round % 3 == 2 {
            fleet.stop(at).await?;
        } else {
            fleet.kill(at)?;
        }
        // The other host takes all lanes: commands go on being answered.
        load.hears(BETWEEN).await?;
        fleet.start_again(at).await?;
    }
    load.hears(BETWEEN).await?;
    let mut counts = fleet.judge(field, load).await?;
    counts.insert("hosts gone", rounds);
    Ok(counts)
}
