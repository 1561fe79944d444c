//! What the API promises, asked of a real daemon over real connections.

mod ids;
mod later;
mod reads;
mod versions;

use std::time::Duration;

use crate::field::{Counts, Field, kept};
use crate::hand::Hand;

/// How long `?min_version` may wait here; the default is longer than a test should be.
const STATE_WAIT: Duration = Duration::from_millis(500);

/// Asks for everything once.
///
/// # Errors
/// What was not as promised.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut stage = field.stage().await?;
    let config = field.folder.join("config.toml");
    std::fs::write(&config, format!("[http]\nstate_wait_ms = {}\n", STATE_WAIT.as_millis()))?;
    stage.launch.flags.push(format!("--config={}", config.display()));
    stage.stop().await?;
    stage.start().await?;
    let mut counts = Counts::new();
    counts.extend(ids::known_ids_get_the_first_answer(&mut stage).await?);
    counts.extend(versions::the_version_check_is_exact(&stage).await?);
    counts.extend(versions::one_of_many_wins(&stage, field.seed).await?);
    counts.extend(reads::a_read_shows_what_was_answered(&stage).await?);
    counts.extend(reads::the_past_is_there(&stage).await?);
    counts.extend(reads::pages_hold_everything_once(&stage).await?);
    counts.extend(later::outcomes_can_be_asked_for_later(&stage).await?);
    counts.extend(later::what_is_turned_away_is_not_recorded(&stage).await?);
    Hand::new(&stage.history, "last", stage.address())?.read_all().await?;
    stage.stop().await?;
    let report = stage.judged()?;
    kept(&report)?;
    counts.insert("commands", report.commands);
    Ok(counts)
}
