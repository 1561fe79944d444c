//! A host that stands still for longer than brokers remember transactional ids (`transactional.id.expiration.ms`, seven
//! days unless set). For a producer whose id was forgotten brokers know no fence: what it is told is that it should ask for
//! a new id, with which it would be let in again. Its lane must have been taken anew by then, by whoever the group says.

use anyhow::{Context, ensure};

use crate::daemon::eventually;
use crate::dice::Dice;
use crate::field::{Counts, Field};
use crate::kafka::proxy::Way;
use crate::kafka::scene::Scene;
use crate::kafka::wire::{Ask, Request, end_txn_error};

/// Brokers forget an id that was idle so long, and look for such ones so often.
const SETTINGS: [(&str, &str); 2] =
    [("transactional.id.expiration.ms", "3000"), ("transaction.remove.expired.transaction.cleanup.interval.ms", "250")];
/// What brokers say about an id that they do not know.
const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
/// The longest wait for them to forget.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut dice = Dice::new(field.seed, "expired");
    let mut scene = Scene::set(field, &SETTINGS).await?;
    let mut clients = scene.both_at_work().await?;
    let rounds = field.pick(1, 2);
    for _ in 0..rounds {
        let at = dice.below(2) as usize;
        let ended = scene.trap(at, Ask::EndTxn, Way::Back).sprung().await?;
        let known = ended.request.clone();
        let lane = known.lane().context("a lane's EndTxn")?;
        // It stands still with a transaction that has begun, of which the broker knows nothing.
        let next = scene.trap_in(at, Ask::AddPartitions, Way::There, lane);
        ended.pass();
        let next = next.sprung().await?;
        scene.host(at)?.pause()?;
        clients.hear_of_all(3).await?;
        clients.rest().await?;
        forgotten(&scene, &known).await?;
        // Awake, it sends on what it had begun; its lanes' new owner has an id that was forgotten, too.
        scene.host(at)?.resume()?;
        next.pass();
        clients.go_on();
        clients.hear_of_all(5).await?;
        // It has joined again.
        scene.trap(at, Ask::EndTxn, Way::Back).sprung().await?.pass();
    }
    let mut counts = scene.judged(clients).await?;
    counts.insert("ids expired", rounds);
    Ok(counts)
}

/// Waits until the broker does not know a lane's transactional id any more. A copy of an EndTxn, of an epoch that is over,
/// is refused for one reason before and for another one after that.
async fn forgotten(scene: &Scene, known: &Request) -> anyhow::Result<()> {
    let error = eventually("the id being forgotten", PATIENCE, || async {
        let answer = scene.proxy.send_late(known).await.ok()?;
        end_txn_error(&answer).ok().filter(|error| matches!(*error, 0 | INVALID_PRODUCER_ID_MAPPING))
    });
    ensure!(error.await? != 0, "a late copy of {known} was accepted");
    Ok(())
}
