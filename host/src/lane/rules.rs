//! The deciders of one lane: per aggregate type the current instance, and the one before while states still live in it.

use std::sync::Arc;

use crate::decider::{Decider, Fault, Rules};
use crate::message::Digest;

/// A decider with its identity. Aggregates whose state is resident in it carry its serial number as their home.
pub struct Instance {
    /// Unique within the lane, never 0.
    pub serial: u32,
    /// What it was made of.
    pub rules: Arc<dyn Rules>,
    /// The decider itself.
    pub decider: Box<dyn Decider>,
}

/// The rules of one type on one lane.
pub struct TypeRules {
    /// The type's name.
    pub aggregate_type: Box<str>,
    /// Decides now.
    pub current: Instance,
    /// Decided before the last swap: only a place to take states from.
    pub former: Option<Instance>,
}

/// All rules of one lane.
#[derive(Default)]
pub struct LaneRules {
    types: Vec<TypeRules>,
    serial: u32,
}

impl LaneRules {
    fn next_serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    fn instance(&mut self, rules: Arc<dyn Rules>) -> Result<Instance, Fault> {
        Ok(Instance { serial: self.next_serial(), decider: rules.instantiate()?, rules })
    }

    /// The rules of a type.
    pub fn get(&mut self, aggregate_type: &str) -> Option<&mut TypeRules> {
        // A host has a handful of types; a scan is faster than a hash.
        self.types.iter_mut().find(|one| &*one.aggregate_type == aggregate_type)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &TypeRules> {
        self.types.iter()
    }

    /// All of them, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut TypeRules> {
        self.types.iter_mut()
    }

    /// Makes `rules` the current ones of a type. States move over lazily from the instance before. Returns whether
    /// anything changed.
    ///
    /// # Errors
    /// [`Fault`] if they cannot be started: the ones before go on.
    pub fn adopt(&mut self, aggregate_type: &str, rules: Arc<dyn Rules>) -> Result<bool, Fault> {
        if self.get(aggregate_type).is_some_and(|one| one.current.rules.digest() == rules.digest()) {
            return Ok(false);
        }
        let fresh = self.instance(rules)?;
        match self.get(aggregate_type) {
            Some(one) => one.former = Some(std::mem::replace(&mut one.current, fresh)),
            None => self.types.push(TypeRules { aggregate_type: aggregate_type.into(), current: fresh, former: None }),
        }
        Ok(true)
    }

    /// Replaces a type's current instance by a fresh one of the same rules: every state in it is gone.
    ///
    /// # Errors
    /// [`Fault`] if it cannot be started.
    pub fn restart(&mut self, aggregate_type: &str) -> Result<(), Fault> {
        let Some(rules) = self.get(aggregate_type).map(|one| Arc::clone(&one.current.rules)) else { return Ok(()) };
        let fresh = self.instance(rules)?;
        if let Some(one) = self.get(aggregate_type) {
            one.current = fresh;
        }
        Ok(())
    }

    /// Digest of each type's current rules.
    pub fn digests(&self) -> Vec<(String, Digest)> {
        self.types.iter().map(|one| (one.aggregate_type.to_string(), one.current.rules.digest())).collect()
    }
}
