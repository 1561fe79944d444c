//! Starts: with other numbers, beside another process, on a store or a log that something happened to.

mod log;
mod store;

use anyhow::ensure;

use super::asking::hand;
use crate::daemon::Launch;
use crate::field::{Counts, Field, kept};
use crate::hand::Pace;
use crate::load::{Load, Shape};
use crate::stage::Stage;

/// Peaceful stops under load.
const STOPS: u64 = 8;

/// A start either finds everything that was acknowledged, or refuses and says what is wrong.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut counts = numbers(&field.part("numbers")).await?;
    counts.extend(stops(&field.part("stops")).await?);
    counts.extend(store::is_a_cache(&field.part("store")).await?);
    counts.extend(log::is_whole_or_refused(&field.part("log")).await?);
    Ok(counts)
}

/// Lanes may change at any start, partitions never; a second process is refused.
async fn numbers(field: &Field) -> anyhow::Result<Counts> {
    let mut stage = field.stage().await?;
    let load = Load::start(&stage, "lanes", field.seed, Shape::light())?;
    let lanes = [1, 2, 3, 16, 1];
    for (n, lanes) in lanes.into_iter().enumerate() {
        load.hears(400).await?;
        if n % 2 == 0 {
            stage.stop().await?
        } else {
            stage.kill()?
        }
        stage.set_lanes(lanes);
        stage.start().await?;
        stage.active(&field.rules("v1")?).await?;
    }
    load.hears(400).await?;
    let second = second_process(&stage, field).await?;
    load.hears(100).await?;
    load.finish().await?;
    hand(&stage, "lanes-last")?.read_all().await?;
    stage.stop().await?;
    stage.launch.flags.push("--partitions=8".to_owned());
    let said = stage.refuses_to_start().await?;
    ensure!(said.contains("16 partitions") && said.contains("8 are configured"), "what is wrong is not said:\n{said}");
    stage.launch.flags.pop();
    stage.start().await?;
    stage.stop().await?;
    let report = stage.judged()?;
    kept(&report)?;
    field.clear();
    Ok(Counts::from([("changes_of_lanes", lanes.len() as u64), ("refused_starts", second + 1)]))
}

async fn second_process(stage: &Stage, field: &Field) -> anyhow::Result<u64> {
    let beside = Launch {
        data: stage.launch.data.clone(),
        output: field.folder.join("second.log"),
        ..Launch::below(&field.ordain, &field.folder.join("second"))
    };
    std::fs::create_dir_all(field.folder.join("second"))?;
    let run_file = stage.data().join("run.json");
    let before = std::fs::read(&run_file)?;
    let said = beside.begin()?.refuses().await?;
    ensure!(said.contains("stop it first"), "what is wrong is not said:\n{said}");
    ensure!(std::fs::read(&run_file)? == before, "the second process changed where the first one is said to be");
    Ok(1)
}

/// A stop answers everything it took: what was decided was told. No command is sent twice here unless it got no answer,
/// so a repeated answer would be one that the stop kept back.
async fn stops(field: &Field) -> anyhow::Result<Counts> {
    let mut stage = field.stage().await?;
    let pace = Pace { in_flight: 256, per_second: Some(4_000) };
    let shape = Shape { pace, again_percent: 0, singles: 8, ..Shape::default() };
    let load = Load::start(&stage, "stops", field.seed, shape)?;
    let mut on_their_way = 0;
    for _ in 0..STOPS {
        load.hears(300).await?;
        on_their_way += load.in_flight();
        stage.stop().await?;
        stage.start().await?;
    }
    load.hears(300).await?;
    let (tally, _) = load.finish().await?;
    stage.stop().await?;
    let report = stage.judged()?;
    kept(&report)?;
    ensure!(on_their_way > 0, "no stop came while commands were on their way");
    ensure!(tally.replayed == 0, "{} commands were decided, and their clients not told:\n{report}", tally.replayed);
    field.clear();
    Ok(Counts::from([("stops_under_load", STOPS), ("on_their_way_at_stops", on_their_way)]))
}
