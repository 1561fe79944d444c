//! Hosts killed (`SIGKILL`) at named points of a running transaction and of a take-over. What they had sent may reach the
//! broker before another host takes their lanes, or after.

use super::{RUNNING, TAKING, shuffled};
use crate::dice::Dice;
use crate::field::{Counts, Field};
use crate::kafka::clients::Clients;
use crate::kafka::proxy::Caught;
use crate::kafka::scene::Scene;

/// Answers that each client hears from the other host.
const GOES_ON: u64 = 3;

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut dice = Dice::new(field.seed, "points");
    let mut scene = Scene::set(field, &[]).await?;
    let mut clients = scene.both_at_work().await?;
    let mut kills = 0;
    let pairs = shuffled(RUNNING, &mut dice).into_iter().zip(shuffled(TAKING, &mut dice));
    for ((ask, way), taking) in pairs.take(field.pick(3, RUNNING.len())) {
        let at = (kills / 2 % 2) as usize;
        println!("    killed at {ask:?} {way:?}, then on the way to a lane at {taking:?}");
        let caught = scene.trap(at, ask, way).sprung().await?;
        scene.taken_off(at)?.kill()?;
        other_goes_on(&mut clients, caught, &mut dice).await?;

        let (ask, way) = taking;
        let trap = scene.trap_take(at, ask, way);
        let host = scene.begin(at)?;
        let caught = scene.caught_in_take(trap, at, ask, way).await?;
        host.kill()?;
        other_goes_on(&mut clients, caught, &mut dice).await?;
        scene.start(at).await?;
        kills += 2;
    }
    let mut counts = scene.judged(clients).await?;
    counts.insert("kills at points", kills);
    Ok(counts)
}

/// Every lane gets an owner that decides. What the dead host had sent is let go before that or after it.
async fn other_goes_on(clients: &mut Clients, caught: Caught, dice: &mut Dice) -> anyhow::Result<()> {
    if dice.percent(50) {
        caught.pass();
        return clients.hear_of_all(GOES_ON).await;
    }
    clients.hear_of_all(GOES_ON).await?;
    caught.pass();
    clients.hear_of_all(1).await
}
