//! A host that stands still (`SIGSTOP`) at a point of a transaction or of a take-over, until another host owns its lanes and
//! has decided commands of them. Then what it had sent arrives, and it wakes up: it writes nothing, answers nothing that
//! is not in the log, serves nothing old as current (R8), and joins again.

use anyhow::ensure;

use super::{RUNNING, TAKING, shuffled};
use crate::dice::Dice;
use crate::field::{Counts, Field};
use crate::kafka::proxy::Way;
use crate::kafka::scene::Scene;
use crate::kafka::wire::Ask;

/// Answers that each client hears from the other host.
const GOES_ON: u64 = 3;

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut dice = Dice::new(field.seed, "zombies");
    let mut scene = Scene::set(field, &[]).await?;
    let mut clients = scene.both_at_work().await?;
    let at = dice.below(2) as usize;
    let (mut woken, mut read) = (0, 0);
    let pairs = shuffled(RUNNING, &mut dice).into_iter().zip(shuffled(TAKING, &mut dice));
    for ((ask, way), taking) in pairs.take(field.pick(3, RUNNING.len())) {
        println!("    standing still at {ask:?} {way:?}, then on the way to a lane at {taking:?}");
        // This also waits until it has joined again and owns lanes.
        let caught = scene.trap(at, ask, way).sprung().await?;
        scene.host(at)?.pause()?;
        clients.hear_of_all(GOES_ON).await?;
        let asked_first = scene.ask_sleeper(at, &clients).await?;

        let (ask, way) = taking;
        let trap = scene.trap_take(at, ask, way);
        // Its old request arrives before it wakes up, or while it already goes on.
        if dice.percent(50) {
            caught.pass();
            scene.host(at)?.resume()?;
        } else {
            scene.host(at)?.resume()?;
            caught.pass();
        }
        // At once: a host that waits too long for its producer makes another one, and that one is in no trap.
        let caught = scene.caught_in_take(trap, at, ask, way).await?;
        scene.host(at)?.pause()?;
        clients.hear_of_all(GOES_ON).await?;
        let asked = scene.ask_sleeper(at, &clients).await?;
        caught.pass();
        scene.host(at)?.resume()?;
        read += asked_first.none_is_stale().await? + asked.none_is_stale().await?;
        woken += 2;
    }
    scene.trap(at, Ask::EndTxn, Way::Back).sprung().await?.pass();
    clients.hear_of_all(GOES_ON).await?;
    let mut counts = scene.judged(clients).await?;
    ensure!(read > 0, "no host that woke up answered a read");
    counts.extend([("zombies woken", woken), ("reads that waited for one", read)]);
    Ok(counts)
}
