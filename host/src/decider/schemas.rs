//! A module's JSON Schemas, and a fingerprint of its state's layout.

pub mod embed;
pub mod layout;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::refused::{Refused, Rule};
use super::text::one_line;

/// The schemas of one module's types, as the JSON text its build attached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schemas {
    /// Of commands, as they are read.
    pub command: Box<RawValue>,
    /// Of events, as they are written.
    pub event: Box<RawValue>,
    /// Of rejections, as they are written.
    pub rejection: Box<RawValue>,
    /// Of the state, as it is written for people.
    pub state: Box<RawValue>,
}

impl Schemas {
    /// Reads the content of the section `ordain.schemas`.
    ///
    /// # Errors
    /// [`Refused`] if it is not an object of four schemas.
    pub fn parse(json: &[u8]) -> Result<Self, Refused> {
        let read = serde_json::from_slice::<Self>(json).and_then(|schemas| {
            for schema in [&schemas.command, &schemas.event, &schemas.rejection, &schemas.state] {
                serde_json::from_str::<serde::de::IgnoredAny>(schema.get())?;
            }
            Ok(schemas)
        });
        read.map_err(|error| {
            let error = one_line(error.to_string().as_bytes(), 300);
            let message = format!("the module's schemas are unreadable ({error}): build it with `ordain build`");
            Refused::new(Rule::Schemas, message)
        })
    }

    /// [`layout::fingerprint`] of the state.
    pub fn state_fingerprint(&self) -> u64 {
        layout::fingerprint(self.state.get())
    }
}
