//! The composition root.

use tokio::sync::watch;

use crate::config::Config;

/// Runs the daemon until `stopping` turns true and everything that was taken is answered.
///
/// # Errors
/// What kept it from starting or going on, with what to do.
pub async fn run(_config: Config, _stopping: watch::Receiver<bool>) -> anyhow::Result<()> {
    anyhow::bail!("the daemon is not put together yet")
}
