//! A module that passed the gate and is compiled: what it says of itself, and its code.

use std::fmt;
use std::sync::Arc;

use ordain_sdk::contract::{CONTRACT_VERSION, Manifest};
use xxhash_rust::xxh3::xxh3_64;

use super::instance::Instance;
use super::refused::{Refused, Rule};
use super::sandbox::Sandbox;
use super::schemas::Schemas;
use super::text::one_line;
use super::{Decider, Fault, Rules};
use crate::message::{AggregateType, Digest};

/// Sample commands a module may bring.
const SAMPLES_MAX: usize = 1000;

/// A compiled module. Cheap to clone; its code is freed with the last clone and the last instance.
#[derive(Clone)]
pub struct Module(Arc<Inner>);

struct Inner {
    digest: Digest,
    aggregate_type: AggregateType,
    manifest: Manifest,
    schemas: Option<Schemas>,
    state_tag: u64,
    warnings: Vec<String>,
    code: wasmtime::Module,
    sandbox: Sandbox,
}

impl Module {
    /// Puts the parts together after checking what the module says of itself.
    ///
    /// # Errors
    /// [`Refused`] if that cannot be.
    pub(super) fn assemble(
        digest: Digest,
        manifest: Manifest,
        schemas: Option<Schemas>,
        warnings: Vec<String>,
        code: wasmtime::Module,
        sandbox: Sandbox,
    ) -> Result<Self, Refused> {
        let describes = |what: String| Refused::new(Rule::Describe, what);
        let aggregate_type = AggregateType::parse(&manifest.aggregate_type)
            .map_err(|bad| describes(one_line(bad.to_string().as_bytes(), 300)))?;
        if manifest.contract != CONTRACT_VERSION {
            let contract = manifest.contract;
            return Err(describes(format!(
                "the module describes contract {contract}, but its section says {CONTRACT_VERSION}: build it again"
            )));
        }
        if manifest.samples.len() > SAMPLES_MAX {
            let samples = manifest.samples.len();
            return Err(describes(format!(
                "the module brings {samples} samples, the limit is {SAMPLES_MAX}: keep a few"
            )));
        }
        let state_tag = state_tag(&manifest, schemas.as_ref(), digest);
        Ok(Self(Arc::new(Inner { digest, aggregate_type, manifest, schemas, state_tag, warnings, code, sandbox })))
    }

    /// Its identity.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// The aggregate type its rules are for.
    pub fn aggregate_type(&self) -> &AggregateType {
        &self.0.aggregate_type
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// Its JSON Schemas, if its build attached them.
    pub fn schemas(&self) -> Option<&Schemas> {
        self.0.schemas.as_ref()
    }

    /// Names the layout and meaning of its state: a compact snapshot written under one tag can be read under the same
    /// tag and no other. Without schemas nothing is known of the layout, and the tag is the module's own.
    pub fn state_tag(&self) -> u64 {
        self.0.state_tag
    }

    /// What is allowed and still smells, for people.
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// Where it was compiled, and where its instances run.
    pub fn sandbox(&self) -> &Sandbox {
        &self.0.sandbox
    }

    pub(super) fn code(&self) -> &wasmtime::Module {
        &self.0.code
    }
}

impl Rules for Module {
    fn digest(&self) -> Digest {
        self.0.digest
    }

    fn state_tag(&self) -> u64 {
        self.0.state_tag
    }

    fn instantiate(&self) -> Result<Box<dyn Decider>, Fault> {
        Ok(Box::new(Instance::new(self)?))
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("type", &self.0.aggregate_type).field("digest", &self.0.digest).finish()
    }
}

fn state_tag(manifest: &Manifest, schemas: Option<&Schemas>, digest: Digest) -> u64 {
    let mut words = manifest.state_version.to_le_bytes().to_vec();
    match schemas {
        Some(schemas) => words.extend_from_slice(&schemas.state_fingerprint().to_le_bytes()),
        None => words.extend_from_slice(&digest.0),
    }
    xxh3_64(&words)
}
