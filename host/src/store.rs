//! Placeholder until the store lands.
use crate::log::Lsn;
use crate::message::{AggregateId, AggregateType};
pub struct Stored {
    pub version: u64,
    pub last: Lsn,
    pub state_tag: u64,
    pub state: Vec<u8>,
    pub recent: Vec<Recent>,
}
pub struct Recent {
    pub id: u128,
    pub body_hash: u64,
    pub at: Lsn,
    pub time_ms: i64,
}
#[derive(Clone)]
pub struct Mark {
    pub partition: u32,
    pub position: Lsn,
    pub next_sequence: u64,
    pub next_command_offset: u64,
    pub log_time_ms: i64,
}
pub struct Key {
    pub aggregate_type: AggregateType,
    pub aggregate_id: AggregateId,
}
pub struct Full {
    pub batch: Vec<(Key, Stored)>,
}
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    Io(String),
}
pub struct Store {}
impl Store {
    pub fn marks(&self) -> Vec<Mark> {
        Vec::new()
    }
    pub fn get(&self, _: &str, _: &str) -> Result<Option<Stored>, StoreError> {
        Ok(None)
    }
    pub fn put(&self, _: Vec<(Key, Stored)>, _: Vec<Mark>) -> Result<(), Full> {
        Ok(())
    }
    pub fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<(String, u64)>, StoreError> {
        Ok(Vec::new())
    }
    pub fn flush(&self) {}
}
