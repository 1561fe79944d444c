//! Modules as files and by their digests.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use sha2::{Digest, Sha256};

/// A module.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Name for people.
    pub name: String,
    /// Name of its rules in the checker's reference model, if that has them.
    pub model: Option<String>,
    /// Digest as the host shows it.
    pub digest: String,
    /// The file.
    pub bytes: Arc<[u8]>,
}

impl Rules {
    /// Reads a module that the reference model knows by this name.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(path: &Path, name: &str) -> anyhow::Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read the module {}", path.display()))?;
        Ok(Self { name: name.to_owned(), model: Some(name.to_owned()), digest: digest_of(&bytes), bytes: bytes.into() })
    }

    /// The same module, judged by other rules of the reference model, or by none.
    #[must_use]
    pub fn judged_as(mut self, model: Option<&str>) -> Self {
        self.model = model.map(str::to_owned);
        self
    }

    /// The beginning of the digest, as people recognise it.
    pub fn short(&self) -> &str {
        short(&self.digest)
    }
}

/// The digest of a module's bytes as the host shows it.
pub fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The beginning of a digest, as people recognise it.
pub fn short(digest: &str) -> &str {
    digest.get(..15).unwrap_or(digest)
}
