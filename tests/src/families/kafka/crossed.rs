//! Two hosts take one lane at once. The init of one is stopped on its way, or its answer; its host stands still, so that
//! the group gives the lane to the other one, which goes through or is stopped at its own init; then both are let go, in
//! either order. Whoever comes last owns the lane; the other one is fenced and learns it.

use anyhow::Context;

use super::shuffled;
use crate::dice::Dice;
use crate::field::{Counts, Field};
use crate::kafka::proxy::Way;
use crate::kafka::scene::Scene;
use crate::kafka::wire::Ask;

/// How two inits cross: where each is stopped, and which is let go first. The second one may not be stopped at all.
const CROSSINGS: [(Way, Option<Way>, bool); 6] = [
    (Way::There, None, true),
    (Way::Back, None, true),
    (Way::There, Some(Way::There), true),
    (Way::There, Some(Way::There), false),
    (Way::There, Some(Way::Back), true),
    (Way::Back, Some(Way::There), false),
];

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    const FIRST: usize = 1;
    const SECOND: usize = 0;
    let mut dice = Dice::new(field.seed, "crossed");
    let mut scene = Scene::set(field, &[]).await?;
    let mut clients = scene.both_at_work().await?;
    let rounds = field.pick(2, 4);
    for (first, second, in_order) in shuffled(CROSSINGS, &mut dice).into_iter().take(rounds) {
        println!("    the first init stopped {first:?}, the second {second:?}, let go in order: {in_order}");
        scene.taken_off(FIRST)?.kill()?;
        let trap = scene.trap(FIRST, Ask::InitProducerId, first);
        let mut host = scene.begin(FIRST)?;
        let caught = trap.sprung().await?;
        let lane = caught.request.lane().context("a lane's init")?;
        let also = second.map(|way| scene.trap_in(SECOND, Ask::InitProducerId, way, lane));
        host.pause()?;
        match also {
            None => {
                clients.hear_of_all(3).await?;
                caught.pass();
                // The owner is fenced by a host that does not know it: it takes the lane again.
                clients.hear_of_all(3).await?;
            }
            Some(trap) => {
                let also = trap.sprung().await?;
                if in_order {
                    caught.pass();
                    also.pass();
                } else {
                    also.pass();
                    caught.pass();
                }
            }
        }
        host.resume()?;
        scene.ready(FIRST, host).await?;
        clients.hear_of_all(3).await?;
    }
    let mut counts = scene.judged(clients).await?;
    counts.insert("inits crossed", rounds as u64);
    Ok(counts)
}
