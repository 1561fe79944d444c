//! EndTxn requests that arrive late and more than once (KAFKA-17754). An EndTxn whose answer does not come is sent again
//! by the client library, without a word; the first one may then arrive in the middle of a *later* transaction and end
//! that one, the broker being none the wiser. So a lane whose EndTxn was sent twice is taken anew, and no copy of it means
//! anything any more.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};

use crate::dice::Dice;
use crate::field::{Counts, Field};
use crate::kafka::proxy::{Caught, Way};
use crate::kafka::scene::Scene;
use crate::kafka::wire::{Ask, end_txn_error};

/// EndTxns that are sent twice. Of each two copies come late.
const DOUBLED: u64 = 12;

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    const AT: usize = 0;
    let mut dice = Dice::new(field.seed, "endtxn");
    let mut scene = Scene::set(field, &[]).await?;
    scene.start(AT).await?;
    let mut clients = scene.at_work().await?;
    let mut refused = BTreeMap::<i16, u64>::new();
    for _ in 0..DOUBLED {
        // The first one is lost on its way, or arrives and its answer is lost.
        let way = if dice.percent(50) { Way::There } else { Way::Back };
        let caught = scene.trap(AT, Ask::EndTxn, way).sprung().await?;
        let first = caught.request.clone();
        let lane = first.lane().context("a lane's EndTxn")?;
        let anew = scene.trap_in(AT, Ask::InitProducerId, Way::There, lane);
        let anew = tokio::spawn(async move { anew.sprung().await.map(Caught::pass) });
        caught.lose();
        // The second one ends the transaction. Copies of the first come while a later one is open: of one that was to
        // commit, and of one that was to abort.
        for copy in [first.clone(), first.turned()?] {
            let open = open_transaction(&scene, AT, lane, dice.percent(50)).await?;
            let error = end_txn_error(&scene.proxy.send_late(&copy).await?)?;
            ensure!(error != 0, "a late copy of {first} ended a later transaction");
            *refused.entry(error).or_default() += 1;
            open.pass();
        }
        anew.await?.with_context(|| format!("lane {lane} was not taken anew after {first} was sent twice"))?;
        clients.hear_of_all(1).await?;
    }
    let mut counts = scene.judged(clients).await?;
    counts.insert("EndTxns doubled", DOUBLED);
    counts.insert("late copies refused", refused.values().sum());
    println!("    what brokers said to late copies: {refused:?}");
    Ok(counts)
}

/// The next transaction of a lane, when its records are written, or when it is about to end.
async fn open_transaction(scene: &Scene, at: usize, lane: u32, ending: bool) -> anyhow::Result<Caught> {
    // The end of the one before does not write anything more.
    let written = scene.trap_in(at, Ask::Produce, Way::Back, lane).sprung().await?;
    if !ending {
        return Ok(written);
    }
    let ends = scene.trap_in(at, Ask::EndTxn, Way::There, lane);
    written.pass();
    ends.sprung().await
}
