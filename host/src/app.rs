//! The composition root.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Config;
use crate::engine::Engine;
use crate::gateway::Listeners;

/// Runs the daemon until `stopping` turns true and everything that was taken is answered.
///
/// # Errors
/// What kept it from starting or going on, with what to do.
pub async fn run(config: Config, stopping: watch::Receiver<bool>) -> anyhow::Result<()> {
    let listeners = Listeners::bind(&config).await.map_err(anyhow::Error::msg)?;
    listeners.serve(Engine {}, Arc::new(config), stopping).await;
    Ok(())
}
