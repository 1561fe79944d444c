//! Several hosts that share the lanes of one log: killed, stopped and started under load, at whatever moment. Whatever
//! dies, every command is answered once, by whichever host owns its lane then, and its events are there once and whole.

use std::time::Duration;

use crate::field::{Counts, Field};
use crate::kafka::scene::Scene;

/// Times a host dies or leaves.
const ROUNDS: u64 = 6;
/// Answers heard between two of them.
const BETWEEN: u64 = 300;

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut scene = Scene::set(field, &[]).await?;
    let mut clients = scene.both_at_work().await?;
    for round in 0..ROUNDS {
        clients.hear(BETWEEN).await?;
        let at = (round % 2) as usize;
        let host = scene.taken_off(at)?;
        if round % 3 == 2 {
            host.stop(Duration::from_secs(30)).await?;
        } else {
            host.kill()?;
        }
        // The other host takes all lanes: commands go on being answered.
        clients.hear(BETWEEN).await?;
        clients.hear_of_all(1).await?;
        scene.start(at).await?;
    }
    clients.hear(BETWEEN).await?;
    let mut counts = scene.judged(clients).await?;
    counts.insert("hosts gone", ROUNDS);
    Ok(counts)
}
