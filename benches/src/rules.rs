//! Rules as the lanes get them, without a watched folder: one compiled module as a book of one page.

use std::path::Path;
use std::sync::Arc;

use ordain::decider::{Limits, Module, RuleBook, Rules, Sandbox};

/// One compiled module.
struct Page(Module);

/// Compiles a module, or takes its compiled code from `cache`.
///
/// # Errors
/// Why it was refused.
pub fn compile(bytes: &[u8], cache: &Path) -> anyhow::Result<Module> {
    Ok(Sandbox::new(Limits::default(), Some(cache))?.compile(bytes)?)
}

/// A module as what a lane asks for its rules.
pub fn book(module: &Module) -> Arc<dyn RuleBook> {
    Arc::new(Page(module.clone()))
}

impl RuleBook for Page {
    fn active(&self, aggregate_type: &str) -> Option<Arc<dyn Rules>> {
        (aggregate_type == self.0.aggregate_type().as_str()).then(|| Arc::new(self.0.clone()) as Arc<dyn Rules>)
    }

    fn types(&self) -> Vec<String> {
        vec![self.0.aggregate_type().as_str().to_owned()]
    }
}
