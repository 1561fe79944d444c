//! Transactions of somebody else on the log's topics, open and given up, while hosts die and lanes move. Behind an open one
//! readers see nothing: commits go on and are answered, yet a reader that asked for the end of the topic would be given one
//! that lies before them. So a take-over ends at its own record or not at all (R2).

use std::time::Duration;

use anyhow::ensure;

use crate::daemon::eventually;
use crate::dice::Dice;
use crate::field::{Counts, Field};
use crate::kafka::clients::Clients;
use crate::kafka::foreign::Foreign;
use crate::kafka::scene::Scene;
use crate::kafka::{LANES, PARTITIONS};

/// Answers that each client hears.
const GOES_ON: u64 = 3;
/// Longest wait for a host to say why a lane is not ready.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut dice = Dice::new(field.seed, "foreign");
    let mut scene = Scene::set(field, &[]).await?;
    let mut clients = scene.both_at_work().await?;
    let partition = dice.below(u64::from(PARTITIONS)) as u32;
    given_up(&mut scene, &mut clients, partition).await?;
    open_on_commands(&mut scene, &mut clients, partition).await?;
    open_on_events(&mut scene, &mut clients, partition).await?;
    let mut counts = scene.judged(clients).await?;
    counts.insert("foreign transactions", 4);
    Ok(counts)
}

/// Transactions that were given up leave gaps of offsets, in commands and in events: nobody reads them, nobody misses them.
async fn given_up(scene: &mut Scene, clients: &mut Clients, partition: u32) -> anyhow::Result<()> {
    for topic in ["account.commands", "account.events"] {
        let foreign = Foreign::begin(&scene.brokers, &format!("{}{topic}", scene.prefix), partition).await?;
        foreign.abort().await?;
    }
    clients.hear_of_all(GOES_ON).await?;
    killed_in_turn(scene, clients).await
}

/// Each host dies once: every lane moves.
async fn killed_in_turn(scene: &mut Scene, clients: &mut Clients) -> anyhow::Result<()> {
    for at in 0..2 {
        scene.taken_off(at)?.kill()?;
        clients.hear_of_all(GOES_ON).await?;
        scene.start(at).await?;
    }
    Ok(())
}

/// Commands behind an open transaction wait; no others do, and none is lost when it is given up.
async fn open_on_commands(scene: &mut Scene, clients: &mut Clients, partition: u32) -> anyhow::Result<()> {
    let topic = format!("{}account.commands", scene.prefix);
    let foreign = Foreign::begin(&scene.brokers, &topic, partition).await?;
    scene.taken_off(0)?.kill()?;
    clients.hear_of(|lane| lane != partition % LANES, GOES_ON).await?;
    scene.start(0).await?;
    foreign.abort().await?;
    clients.hear_of_all(GOES_ON).await
}

/// Answers behind an open transaction are committed, and a new owner cannot see them: it waits and says why, and goes on
/// when the transaction is over.
async fn open_on_events(scene: &mut Scene, clients: &mut Clients, partition: u32) -> anyhow::Result<()> {
    let lane = partition % LANES;
    let topic = format!("{}account.events", scene.prefix);
    let foreign = Foreign::begin(&scene.brokers, &topic, partition).await?;
    // These a reader does not see.
    clients.hear_of_all(GOES_ON).await?;
    let owner = scene.owner_of(lane).await?;
    scene.taken_off(owner)?.kill()?;
    clients.hear_of(|one| one != lane, GOES_ON).await?;
    let before = clients.heard_of(lane);
    let why = format!("is not delivered in {topic} partition {partition}");
    let other = scene.host(1 - owner)?;
    let said = || async { other.said().contains(&why).then_some(()) };
    eventually("the host saying why the lane is not ready", PATIENCE, said).await?;
    ensure!(clients.heard_of(lane) == before, "lane {lane} decides although it cannot see what was answered");
    foreign.abort().await?;
    clients.hear_of_all(GOES_ON).await?;
    scene.start(owner).await
}
