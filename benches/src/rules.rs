//! Rules as the lanes get them, without a watched folder: one module, or the same Rust natively.

use std::path::Path;
use std::sync::Arc;

use ordain::decider::instance::Instance;
use ordain::decider::limits::Limits;
use ordain::decider::module::Module;
use ordain::decider::sandbox::Sandbox;
use ordain::decider::{Decider, Fault, RuleBook, Rules};
use ordain::message::Digest;

/// One compiled module as a book of one page.
#[derive(Clone)]
pub struct Wasm {
    sandbox: Sandbox,
    module: Module,
}

impl Wasm {
    /// Compiles a module, or takes its compiled code from `cache`.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn compile(bytes: &[u8], cache: &Path) -> anyhow::Result<Self> {
        let sandbox = Sandbox::new(Limits::default(), Some(cache))?;
        let module = sandbox.compile(bytes)?;
        Ok(Self { sandbox, module })
    }

    /// As what a lane asks for its rules.
    pub fn book(&self) -> Arc<dyn RuleBook> {
        Arc::new(self.clone())
    }
}

impl Rules for Wasm {
    fn digest(&self) -> Digest {
        self.module.digest()
    }

    fn state_tag(&self) -> u64 {
        self.module.state_tag()
    }

    fn instantiate(&self) -> Result<Box<dyn Decider>, Fault> {
        Ok(Box::new(Instance::new(&self.sandbox, &self.module)?))
    }
}

impl RuleBook for Wasm {
    fn active(&self, aggregate_type: &str) -> Option<Arc<dyn Rules>> {
        (aggregate_type == self.module.aggregate_type().as_str()).then(|| Arc::new(self.clone()) as Arc<dyn Rules>)
    }

    fn types(&self) -> Vec<String> {
        vec![self.module.aggregate_type().as_str().to_owned()]
    }
}
