//! Placeholder until the store lands.
use crate::log::Lsn;
use crate::message::{AggregateId, AggregateType};
#[derive(Clone)]
pub struct Stored {
    pub version: u64,
    pub last: Lsn,
    pub state_tag: u64,
    pub state: Vec<u8>,
    pub recent: Vec<Recent>,
}
#[derive(Clone)]
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
#[derive(Default)]
pub struct Store {
    map: std::sync::Mutex<std::collections::HashMap<(String, String), Stored>>,
}
impl Store {
    pub fn open(_: &std::path::Path, _: u128, _: Lsn, _: u32) -> Result<Self, StoreError> {
        Ok(Self::default())
    }
    pub fn marks(&self) -> Vec<Mark> {
        Vec::new()
    }
    pub fn get(&self, a: &str, b: &str) -> Result<Option<Stored>, StoreError> {
        Ok(self.map.lock().unwrap().get(&(a.to_owned(), b.to_owned())).cloned())
    }
    pub fn put(&self, a: Vec<(Key, Stored)>, _: Vec<Mark>) -> Result<(), Full> {
        for (k, s) in a {
            self.map
                .lock()
                .unwrap()
                .insert((k.aggregate_type.as_str().to_owned(), k.aggregate_id.as_str().to_owned()), s);
        }
        Ok(())
    }
    pub fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<(String, u64)>, StoreError> {
        Ok(Vec::new())
    }
    pub fn flush(&self) {}
}
