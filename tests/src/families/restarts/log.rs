//! The log is the only truth: it is whole, or the start is refused by file and byte. Never silently shorter or different.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::store::{copy, replace};
use crate::command::path_segment;
use crate::dice::Dice;
use crate::families::asking::hand;
use crate::field::{Counts, Field, kept};
use crate::hand::Hand;
use crate::load::{Load, Shape};
use crate::stage::Stage;

/// Flipped bits in one run, each in a start of its own.
const FLIPS: u64 = 10;

/// What clients had been told before anything was damaged: state and history of every account.
type Told = BTreeMap<String, [String; 2]>;

/// Cut, flipped, zeroed, swapped, deleted.
pub async fn is_whole_or_refused(field: &Field) -> anyhow::Result<Counts> {
    let mut stage = field.empty_stage()?;
    let config = field.folder.join("config.toml");
    fs::write(&config, "[log]\nsegment_bytes = 1048576\n")?;
    stage.launch.flags.push(format!("--config={}", config.display()));
    stage.start().await?;
    stage.swap(&field.rules("v1")?).await?;
    let load = Load::start(&stage, "log", field.seed, Shape::default())?;
    let log = stage.data().join("log");
    while segments(&log)?.len() < 4 {
        load.hears(500).await?;
    }
    load.finish().await?;
    let mut reader = hand(&stage, "log-reader")?;
    let told = read(&mut reader).await?;
    stage.stop().await?;
    let damaged = Damaged { whole: field.folder.join("whole-log"), log, told };
    copy(&damaged.log, &damaged.whole)?;
    let mut counts = Counts::new();
    counts.extend(damaged.by_hand(&mut stage, &mut reader).await?);
    counts.extend(damaged.by_chance(&mut stage, &mut reader, field.seed).await?);
    // The log as it was is still good.
    replace(&damaged.whole, &damaged.log)?;
    stage.start().await?;
    reader.read_all().await?;
    stage.stop().await?;
    kept(&stage.judged()?)?;
    field.clear();
    Ok(counts)
}

/// A log that is damaged again and again from the same whole copy.
struct Damaged {
    whole: PathBuf,
    log: PathBuf,
    told: Told,
}

/// What a file is damaged by.
type Deed = fn(&Path, &[PathBuf]) -> std::io::Result<PathBuf>;

impl Damaged {
    /// Damages that a start must see, each with the file that it must name.
    async fn by_hand(&self, stage: &mut Stage, reader: &mut Hand) -> anyhow::Result<Counts> {
        let deeds: [(&str, Deed); 8] = [
            ("the last segment cut in its middle", |_, all| cut(&all[all.len() - 1], used(&all[all.len() - 1])? / 2)),
            ("a finished segment cut in its middle", |_, all| cut(&all[1], length(&all[1])? / 2)),
            ("a finished segment cut to nothing", |_, all| cut(&all[1], 0)),
            // The gap is seen from the segment before it.
            ("a segment in the middle deleted", |_, all| gone(&all[1]).map(|_| all[0].clone())),
            ("the first segment deleted", |_, all| gone(&all[0])),
            ("the last segment deleted", |_, all| gone(&all[all.len() - 1])),
            ("a page of the last segment zeroed", |_, all| zeroed(&all[all.len() - 1])),
            ("the layout deleted", |log, _| gone(&log.join("layout"))),
        ];
        let mut refused = 0;
        for (what, deed) in deeds {
            replace(&self.whole, &self.log)?;
            let file = deed(&self.log, &segments(&self.log)?)?;
            let said = stage.refuses_to_start().await.with_context(|| what.to_owned())?;
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            ensure!(said.contains(&name), "{what}: the file {name} is not named:\n{said}");
            ensure!(name == "layout" || said.contains("byte "), "{what}: the place is not named:\n{said}");
            refused += 1;
        }
        // Two finished segments under each other's names.
        replace(&self.whole, &self.log)?;
        let all = segments(&self.log)?;
        let between = self.log.join("between");
        for (from, to) in [(&all[0], &between), (&all[1], &all[0]), (&between, &all[1])] {
            fs::rename(from, to)?;
        }
        stage.refuses_to_start().await.context("two segments under each other's names")?;
        let _ = reader;
        Ok(Counts::from([("damaged_logs_refused", refused + 1)]))
    }

    /// A flipped bit anywhere: with the store gone everything is read, and the start is refused; with the store there, what
    /// can be read is right, and what cannot says so.
    async fn by_chance(&self, stage: &mut Stage, reader: &mut Hand, seed: u64) -> anyhow::Result<Counts> {
        let mut dice = Dice::new(seed, "flips");
        let (mut refused, mut unreadable) = (0, 0);
        let store = stage.data().join("store");
        let whole_store = self.whole.with_file_name("whole-store");
        copy(&store, &whole_store)?;
        for flip in 0..FLIPS {
            replace(&self.whole, &self.log)?;
            replace(&whole_store, &store)?;
            let all = segments(&self.log)?;
            let path = &all[dice.below(all.len() as u64) as usize];
            let (end, mut bytes) = (used(path)?, fs::read(path)?);
            let at = dice.below(end) as usize;
            bytes[at] ^= 1 << dice.below(8);
            fs::write(path, bytes)?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if flip % 2 == 0 {
                fs::remove_dir_all(&store)?;
                let said = stage.refuses_to_start().await.with_context(|| format!("{name} flipped at byte {at}"))?;
                ensure!(said.contains(&name) && said.contains("byte "), "{name} at {at} is not named:\n{said}");
                refused += 1;
            } else if let Err(error) = stage.start().await {
                let said = format!("{error:#}");
                ensure!(said.contains(&name) && said.contains("byte "), "{name} at {at} is not named:\n{said}");
                refused += 1;
            } else {
                unreadable += self.right_or_said(reader, &name).await?;
                stage.kill()?;
            }
        }
        replace(&whole_store, &store)?;
        Ok(Counts::from([("flips_refused", refused), ("histories_said_to_be_damaged", unreadable)]))
    }

    /// Every state and history is what it was, or the answer names the damaged file.
    async fn right_or_said(&self, reader: &mut Hand, name: &str) -> anyhow::Result<u64> {
        let mut said_so = 0;
        for (id, told) in &self.told {
            for (path, told) in paths(id).iter().zip(told) {
                let answer = reader.client().get(path).await?;
                let text = String::from_utf8_lossy(&answer.body);
                match answer.status {
                    200 => ensure!(text == *told, "{path} was {told}, and is said to be {text}"),
                    500 => {
                        ensure!(text.contains(name), "{path}: the damaged file is not named: {text}");
                        said_so += 1;
                    }
                    other => anyhow::bail!("{path} was answered {other}: {text}"),
                }
            }
        }
        Ok(said_so)
    }
}

fn paths(id: &str) -> [String; 2] {
    let id = path_segment(id);
    [format!("/v1/account/{id}"), format!("/v1/account/{id}/events?limit=1000")]
}

async fn read(reader: &mut Hand) -> anyhow::Result<Told> {
    let mut told = Told::new();
    for (id, _) in reader.accounts().await? {
        let mut both = [String::new(), String::new()];
        for (path, text) in paths(&id).iter().zip(&mut both) {
            let answer = reader.client().get(path).await?;
            ensure!(answer.status == 200, "{path} was answered {}", answer.status);
            *text = String::from_utf8_lossy(&answer.body).into_owned();
        }
        told.insert(id, both);
    }
    Ok(told)
}

/// The segment files, in order.
fn segments(log: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(log)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

fn length(path: &Path) -> std::io::Result<u64> {
    Ok(fs::metadata(path)?.len())
}

/// Bytes up to the last one that is not zero: the rest is allocated ahead.
fn used(path: &Path) -> std::io::Result<u64> {
    let bytes = fs::read(path)?;
    Ok(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at as u64 + 1))
}

fn cut(path: &Path, length: u64) -> std::io::Result<PathBuf> {
    fs::File::options().write(true).open(path)?.set_len(length)?;
    Ok(path.to_owned())
}

fn gone(path: &Path) -> std::io::Result<PathBuf> {
    fs::remove_file(path)?;
    Ok(path.to_owned())
}

fn zeroed(path: &Path) -> std::io::Result<PathBuf> {
    let (middle, mut bytes) = (used(path)? as usize / 2, fs::read(path)?);
    let end = (middle + 4096).min(bytes.len());
    bytes[middle..end].fill(0);
    fs::write(path, bytes)?;
    Ok(path.to_owned())
}
