//! The families of faults. Each runs a real daemon, does things to it, and has what was promised judged afterwards:
//! by the checker where commands flow. The tests run each once, `cargo xtask torture` runs them again and again.

pub mod asking;
pub mod brokers;
pub mod disk;
pub mod folder;
pub mod hostile;
pub mod hosts;
pub mod kills;
pub mod promises;
pub mod rebalances;
pub mod restarts;
pub mod swaps;

use std::pin::Pin;

use crate::field::{Counts, Field};

/// A family at work.
pub type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Counts>> + Send + 'a>>;

/// A family, or a part of one that stands for itself.
#[derive(Clone, Copy)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Runs it on a field.
    pub run: for<'a> fn(&'a Field) -> Running<'a>,
}

macro_rules! families {
    ($($name:literal => $run:path;)+) => {
        /// All of them.
        pub const ALL: &[Family] = &[$(Family { name: $name, run: |field| Box::pin($run(field)) }),+];
    };
}

families! {
    "kills" => kills::run;
    "swaps" => swaps::run;
    "folder" => folder::run;
    "hostile" => hostile::run;
    "restarts" => restarts::run;
    "disk" => disk::run;
    "promises" => promises::run;
    "hosts" => hosts::run;
    "brokers" => brokers::run;
    "rebalances" => rebalances::run;
}

/// A family by its name.
///
/// # Panics
/// If there is none.
pub fn named(name: &str) -> Family {
    *ALL.iter().find(|family| family.name == name).unwrap_or_else(|| panic!("there is no family {name}"))
}
