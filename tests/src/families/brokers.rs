//! Brokers that go and come back while hosts work: the only one, the leader of a partition, the coordinators; and one that
//! is cut off from the controller and believes that it still leads.
//!
//! Each part has brokers of its own, as it breaks them.

mod cut_off;
mod one;
mod three;

use xtask::kafka::{Cluster, Spec};

use crate::field::{Counts, Field};
use crate::fleet;

/// Runs the family.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    // Whoever has a broker for tests can have others.
    if fleet::brokers(field).is_none() {
        return Ok(Counts::new());
    }
    let mut counts = Counts::new();
    let mut parts = vec![one::run(&field.part("one")).await?];
    // Some minutes, for which the tests have no time.
    if field.thorough {
        parts.push(three::run(&field.part("three")).await?);
    }
    for part in parts {
        for (name, count) in part {
            *counts.entry(name).or_default() += count;
        }
    }
    Ok(counts)
}

/// Answers heard between two faults.
fn between(field: &Field) -> u64 {
    field.pick(60, 300)
}

/// Brokers under a name of this process alone.
fn spec(name: &str) -> Spec {
    Spec::named(&format!("{name}-{}", std::process::id()))
}

/// Starts brokers that end with their value.
fn cluster(spec: &Spec) -> anyhow::Result<Cluster> {
    apart(|| Cluster::private(spec))
}

/// Does something with brokers that takes its time.
fn apart<T>(what: impl FnOnce() -> Result<T, xtask::run::Failed>) -> anyhow::Result<T> {
    Ok(tokio::task::block_in_place(what)?)
}
