//! What people and programs do to a watched folder: files torn at every place, overwritten, renamed, linked, deleted.
//! Never may a half file decide; the old rules go on; the reason shows soon; what is whole decides soon.

mod copies;
mod oddities;
mod torn;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;

use crate::clock;
use crate::daemon::eventually;
use crate::field::{Counts, Field, kept};
use crate::hand::Hand;
use crate::load::{Load, Shape};
use crate::rules::Rules;
use crate::stage::Stage;

/// How soon a refusal must show, and how soon a whole file must decide.
const SOON: Duration = Duration::from_secs(2);
/// Whatever else the machine does, later than this is never.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon, the rules that are active, those that come next, and how long things took.
struct Watched {
    stage: Stage,
    active: Rules,
    next: Rules,
    took: BTreeMap<&'static str, Vec<Duration>>,
}

/// Does everything to the folder while commands are decided.
///
/// # Errors
/// What was not as promised.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let stage = field.stage().await?;
    let (active, next) = (field.rules("v1")?, field.rules("v2-fee")?);
    let mut watched = Watched { stage, active, next, took: BTreeMap::new() };
    let load = Load::start(&watched.stage, "folder", field.seed, Shape::light())?;
    let mut counts = Counts::new();
    counts.insert("torn_files", torn::cut_everywhere(&mut watched).await?);
    counts.insert("torn_then_whole", torn::completed_later(&mut watched, field.seed).await?);
    counts.insert("slow_copies", copies::slowly_in_place(&mut watched, field.seed).await?);
    counts.insert("overwritten", copies::overwritten_in_place(&mut watched).await?);
    counts.insert("oddities", oddities::no_modules(&mut watched).await?);
    counts.insert("other_doings", oddities::deletes_renames_and_the_same_again(&mut watched, field).await?);
    load.hears(100).await?;
    load.finish().await?;
    Hand::new(&watched.stage.history, "folder-last", watched.stage.address())?.read_all().await?;
    watched.stage.stop().await?;
    let report = watched.stage.judged()?;
    kept(&report)?;
    counts.insert("commands", report.commands);
    watched.was_soon(&mut counts)?;
    Ok(counts)
}

impl Watched {
    /// The next rules are about to be whole in the folder.
    fn begin(&mut self) -> anyhow::Result<u64> {
        let next = self.next.clone();
        self.stage.begin(&next)?;
        Ok(clock::now_ns())
    }

    /// Waits until the next rules decide, and makes them the active ones.
    async fn decides(&mut self, start: u64, doing: &'static str) -> anyhow::Result<()> {
        let next = self.next.clone();
        let took = self.stage.over(&next, start).await?;
        self.took.entry(doing).or_default().push(took);
        std::mem::swap(&mut self.active, &mut self.next);
        Ok(())
    }

    /// Waits until the listing shows that a file was refused, and returns why.
    async fn refused(&mut self, file: &str, start: u64, doing: &'static str) -> anyhow::Result<String> {
        let what = format!("that {file} was refused");
        let why = eventually(&what, PATIENCE, || async { self.refusal(file).await }).await?;
        self.took.entry(doing).or_default().push(clock::since(start));
        self.is_unmoved().await?;
        Ok(why)
    }

    /// Why a file is refused now, as far as the listing shows it.
    async fn refusal(&self, file: &str) -> Option<String> {
        let list = self.stage.client().get("/v1/modules").await.ok()?.json().ok()?;
        let of_types = list["types"].as_array()?.iter().filter_map(|of_type| of_type["refused"].as_array());
        let mut all = list["refused"].as_array().into_iter().chain(of_types).flatten();
        let one = all.find(|one| one["origin"] == file)?;
        Some(one["reason"].as_str()?.to_owned())
    }

    /// The old rules are still the active ones.
    async fn is_unmoved(&self) -> anyhow::Result<()> {
        let listed = self.stage.listed().await;
        ensure!(listed["active"] == self.active.digest.as_str(), "{} should decide: {listed}", self.active.name);
        Ok(())
    }

    fn remove(&self, file: &str) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.stage.launch.modules.join(file))?)
    }

    /// Nine of ten within [`SOON`], all within [`PATIENCE`]: the machine may be busy with other things.
    fn was_soon(&self, counts: &mut Counts) -> anyhow::Result<()> {
        let (mut all, mut slowest) = (Vec::new(), Duration::ZERO);
        for (doing, took) in &self.took {
            slowest = slowest.max(*took.iter().max().unwrap_or(&Duration::ZERO));
            all.extend(took.iter().map(|took| (*took, *doing)));
        }
        let late: Vec<_> = all.iter().filter(|(took, _)| *took > SOON).collect();
        ensure!(late.len() * 10 <= all.len(), "{} of {} took longer than {SOON:?}: {late:?}", late.len(), all.len());
        counts.insert("slowest_ms", slowest.as_millis() as u64);
        counts.insert("late", late.len() as u64);
        Ok(())
    }
}
