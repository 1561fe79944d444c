//! Apache Kafka on this machine, from Maven Central's jars: fetched once, started on free loopback ports, stopped by
//! process id. The command line uses it, and so do tests and benches, which start private clusters and break them.
//!
//! Reading order: [`Spec`] is what is asked for, [`Cluster`] what runs.
//!
//! Everything is below `target/kafka`: `libs` holds the jars, every other folder is one cluster.

pub mod command;

mod cluster;
mod jars;
mod node;
mod plan;
mod probe;
mod secure;
mod tool;

#[cfg(test)]
mod tests;

pub use cluster::Cluster;
pub use plan::{CONTROLLER, Spec};
pub use probe::Coordinated;
pub use secure::{AUTHORIZER, Secure};
pub use tool::Tool;

use std::path::PathBuf;

use crate::run::root;

/// Where jars and clusters are.
fn home() -> PathBuf {
    root().join("target/kafka")
}
