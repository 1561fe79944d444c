//! Reads that wait for a host which stands still, so that it answers them first of all when it wakes up: by then other
//! hosts own its lanes and have decided, and what it has in memory is old (R8).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use tokio::task::JoinHandle;

use crate::client::Client;

/// Reads on their way.
pub struct Asked(Vec<JoinHandle<anyhow::Result<bool>>>);

/// Asks a host for accounts, each as it is within half a session timeout and as it is for certain. `known`: the versions
/// that clients were told, longer than half a session timeout before the host can answer.
pub fn ask(host: SocketAddr, known: BTreeMap<String, u64>) -> Asked {
    let reads = known.into_iter().flat_map(|(id, version)| {
        ["", "?current=true"].map(|how| tokio::spawn(read(host, format!("/v1/account/{id}{how}"), version)))
    });
    Asked(reads.collect())
}

/// Whether there was an answer; that there is none is no lie.
async fn read(host: SocketAddr, path: String, known: u64) -> anyhow::Result<bool> {
    let Ok(answer) = Client::new(host).get(&path).await else { return Ok(false) };
    if answer.status != 200 {
        return Ok(false);
    }
    let version = answer.json()?["version"].as_u64().with_context(|| format!("a version in {path}"))?;
    ensure!(version >= known, "{path} has version {version}, and {known} was told before that it is");
    Ok(true)
}

impl Asked {
    /// Waits for all of them. Returns how many were answered.
    ///
    /// # Errors
    /// If one was answered with what is stale.
    pub async fn none_is_stale(self) -> anyhow::Result<u64> {
        let mut answered = 0;
        for read in self.0 {
            answered += u64::from(read.await??);
        }
        Ok(answered)
    }
}
