//! A disk that fails, and a disk that is full.

mod failing;
mod full;

use crate::field::{Counts, Field};

/// Nothing acknowledged is lost, and nothing is acknowledged that is not durable.
///
/// # Errors
/// What was not so.
pub async fn run(field: &Field) -> anyhow::Result<Counts> {
    let mut counts = failing::syncs_and_writes(&field.part("failing")).await?;
    counts.extend(full::for_a_while(&field.part("full")).await?);
    Ok(counts)
}
