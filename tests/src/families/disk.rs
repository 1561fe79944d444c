//! x

use crate::field::{Counts, Field};

/// x
pub async fn run(_field: &Field) -> anyhow::Result<Counts> {
    Ok(Counts::new())
}
