//! The registry of modules: which are stored, which is active for each type, which were refused and why.

use serde::Serialize;

use crate::message::Digest;

/// Every type's modules, for people and for `GET /v1/modules`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Listing {
    /// Types in order of their names.
    pub types: Vec<TypeListing>,
    /// Files and uploads that were refused and belong to no known type, newest first.
    pub refused: Vec<RefusedListing>,
}

/// The modules of one type.
#[derive(Debug, Clone, Serialize)]
pub struct TypeListing {
    /// The aggregate type.
    #[serde(rename = "type")]
    pub aggregate_type: String,
    /// Digest of the active module.
    pub active: Digest,
    /// Since when it is active, in milliseconds since 1970-01-01 UTC.
    pub since_ms: i64,
    /// The state version it declares.
    pub state_version: u32,
    /// Lanes that decide by it now.
    pub lanes: Vec<u32>,
    /// Digests that were active before, newest first.
    pub former: Vec<Digest>,
    /// What was refused for this type, newest first.
    pub refused: Vec<RefusedListing>,
}

/// A module that was refused.
#[derive(Debug, Clone, Serialize)]
pub struct RefusedListing {
    /// Digest of the bytes, if they could be read.
    pub digest: Option<Digest>,
    /// File name or `upload`.
    pub origin: String,
    /// Why, and what to do.
    pub reason: String,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
}
/// Placeholder
pub struct Modules;
impl Modules {
    /// x
    pub fn list(&self) -> Listing {
        todo!()
    }
    /// x
    pub fn deploy(&self, _: Vec<u8>, _: &str) -> Result<Digest, String> {
        todo!()
    }
}
impl super::RuleBook for Modules {
    fn active(&self, _: &str) -> Option<std::sync::Arc<dyn super::Rules>> {
        todo!()
    }
    fn types(&self) -> Vec<String> {
        todo!()
    }
}
