//! The store is a cache of the log: whatever happens to its files, states are what the log's events make.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::dice::Dice;
use crate::families::asking::hand;
use crate::field::{Counts, Field, kept};
use crate::hand::Hand;
use crate::load::{Load, Shape};
use crate::stage::Stage;

/// Starts with a bit flipped in every file of the store.
const FLIPS: u64 = 6;

/// Deleted, flipped, cut, replaced, stale, ahead of the log.
pub async fn is_a_cache(field: &Field) -> anyhow::Result<Counts> {
    let mut dice = Dice::new(field.seed, "store");
    let mut stage = stage_with_checkpoints(field).await?;
    let mut reader = hand(&stage, "store-reader")?;
    let other = another_store(&field.part("other")).await?;
    work(&stage, field, "store-0").await?;
    stage.stop().await?;
    let store = stage.data().join("store");
    let stale = field.folder.join("stale");
    copy(&store, &stale)?;
    let mut damages = 0;
    for round in 0..FLIPS + 5 {
        match round {
            0 => fs::remove_dir_all(&store)?,
            1 => replace(&other, &store)?,
            2 => replace(&stale, &store)?,
            3 => each_file(&store, &mut |bytes| bytes.truncate(bytes.len() / 2))?,
            4 => each_file(&store, &mut |bytes| bytes.fill(0))?,
            _ => each_file(&store, &mut |bytes| {
                let at = dice.below(bytes.len() as u64) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            })?,
        }
        damages += 1;
        stage.start().await?;
        // Read at once, so that what is wrong is seen before anything is written anew.
        reader.read_all().await.with_context(|| format!("after damage {round} of the store"))?;
        work(&stage, field, &format!("store-{}", round + 1)).await?;
        reader.read_all().await.with_context(|| format!("some commands after damage {round} of the store"))?;
        if dice.percent(50) { stage.stop().await? } else { stage.kill()? }
    }
    stage.start().await?;
    reader.read_all().await?;
    stage.stop().await?;
    let report = stage.judged()?;
    kept(&report)?;
    ensure!(report.reads > 1_000, "only {} states were read", report.reads);
    ahead_of_the_log(&mut stage, field, &mut reader).await?;
    field.clear();
    field.part("other").clear();
    Ok(Counts::from([("damaged_stores", damages + 1)]))
}

/// The log is put back to an older copy, and the store is not: the store knows that acknowledged commands are missing,
/// and the start is refused. Who accepts the loss deletes the store as the message says, and nothing of the future shows.
/// Not judged by the checker, because here the operator loses what was acknowledged.
async fn ahead_of_the_log(stage: &mut Stage, field: &Field, reader: &mut Hand) -> anyhow::Result<()> {
    let (log, older) = (stage.data().join("log"), field.folder.join("older-log"));
    copy(&log, &older)?;
    stage.start().await?;
    let before = states(reader).await?;
    work(stage, field, "store-future").await?;
    stage.stop().await?;
    replace(&older, &log)?;
    let said = stage.refuses_to_start().await?;
    ensure!(said.contains("acknowledged commands are missing"), "what is wrong is not said:\n{said}");
    fs::remove_dir_all(stage.data().join("store"))?;
    stage.start().await?;
    let after = states(reader).await?;
    ensure!(before == after, "a store ahead of the log shows states that the log does not have");
    stage.stop().await
}

async fn states(reader: &mut Hand) -> anyhow::Result<BTreeMap<String, String>> {
    let mut states = BTreeMap::new();
    for (id, _) in reader.accounts().await? {
        let state = reader.state(&id).await?.context("it is listed, and never existed")?;
        states.insert(id, state.to_string());
    }
    Ok(states)
}

/// A stage whose store is written all the time.
async fn stage_with_checkpoints(field: &Field) -> anyhow::Result<Stage> {
    let mut stage = field.empty_stage()?;
    let config = field.folder.join("config.toml");
    fs::write(&config, "[state]\ncheckpoint_aggregates = 20\ncheckpoint_interval_ms = 50\nresident_states_max = 40\n")?;
    stage.launch.flags.push(format!("--config={}", config.display()));
    stage.start().await?;
    stage.swap(&field.rules("v1")?).await?;
    Ok(stage)
}

async fn work(stage: &Stage, field: &Field, name: &str) -> anyhow::Result<()> {
    let load = Load::start(stage, name, field.seed, Shape::light())?;
    load.hears(600).await?;
    load.finish().await?;
    Ok(())
}

/// The store of another host, with the same accounts and other states.
async fn another_store(field: &Field) -> anyhow::Result<PathBuf> {
    let mut stage = stage_with_checkpoints(field).await?;
    work(&stage, &Field { seed: field.seed + 1, ..field.clone() }, "store-0").await?;
    stage.stop().await?;
    Ok(stage.data().join("store"))
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Puts a copy of one folder in the place of another.
pub fn replace(by: &Path, folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    copy(by, folder)
}

fn each_file(folder: &Path, change: &mut dyn FnMut(&mut Vec<u8>)) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            each_file(&path, change)?;
        } else {
            let mut bytes = fs::read(&path)?;
            change(&mut bytes);
            fs::write(&path, bytes)?;
        }
    }
    Ok(())
}
