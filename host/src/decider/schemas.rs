//! A module's JSON Schemas, and a fingerprint of its state's layout.

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::Xxh3;

use super::refused::{Refused, Rule};
use super::text::one_line;

#[cfg(test)]
mod tests;

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
                hash_of(schema)?;
            }
            Ok(schemas)
        });
        read.map_err(|error| {
            let error = one_line(error.to_string().as_bytes(), 300);
            Refused::new(
                Rule::Schemas,
                format!("the module's schemas are unreadable ({error}): build it with `ordain build`"),
            )
        })
    }

    /// A hash of the state's layout: order of fields included, since a compact snapshot is an array; words for people
    /// (titles, descriptions, examples) left out, so that a changed comment is no changed state.
    pub fn state_fingerprint(&self) -> u64 {
        hash_of(&self.state).unwrap_or(0) // it was read once by `parse`
    }
}

fn hash_of(schema: &RawValue) -> Result<u64, serde_json::Error> {
    let mut hash = Xxh3::new();
    let mut from = serde_json::Deserializer::from_str(schema.get());
    serde::de::DeserializeSeed::deserialize(Layout { hash: &mut hash, keys_are_names: false }, &mut from)?;
    Ok(hash.digest())
}

/// Walks a schema in the order of its text and hashes what bears on the layout.
struct Layout<'a> {
    hash: &'a mut Xxh3,
    /// The keys of this object are names of the author's (fields, types), not words of JSON Schema.
    keys_are_names: bool,
}

/// Words of JSON Schema that are for people only.
const FOR_PEOPLE: [&str; 6] = ["title", "description", "$comment", "$schema", "examples", "default"];
/// Words of JSON Schema whose value is an object keyed by names.
const KEYED_BY_NAMES: [&str; 4] = ["properties", "$defs", "definitions", "patternProperties"];

impl Layout<'_> {
    fn add(&mut self, kind: u8, bytes: &[u8]) {
        self.hash.update(&[kind]);
        self.hash.update(&(bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Layout<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Layout<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON Schema")
    }

    fn visit_unit<E>(mut self) -> Result<(), E> {
        self.add(b'n', &[]);
        Ok(())
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<(), E> {
        self.add(b'b', &[u8::from(value)]);
        Ok(())
    }

    fn visit_i64<E>(mut self, value: i64) -> Result<(), E> {
        self.add(b'i', &value.to_le_bytes());
        Ok(())
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<(), E> {
        self.add(b'u', &value.to_le_bytes());
        Ok(())
    }

    fn visit_f64<E>(mut self, value: f64) -> Result<(), E> {
        self.add(b'f', &value.to_bits().to_le_bytes());
        Ok(())
    }

    fn visit_str<E>(mut self, value: &str) -> Result<(), E> {
        self.add(b's', value.as_bytes());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.add(b'[', &[]);
        while items.next_element_seed(Layout { hash: &mut *self.hash, keys_are_names: false })?.is_some() {}
        self.add(b']', &[]);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.add(b'{', &[]);
        while let Some(key) = entries.next_key::<String>()? {
            if !self.keys_are_names && FOR_PEOPLE.contains(&key.as_str()) {
                entries.next_value::<serde::de::IgnoredAny>()?;
                continue;
            }
            self.add(b'k', key.as_bytes());
            let keys_are_names = !self.keys_are_names && KEYED_BY_NAMES.contains(&key.as_str());
            entries.next_value_seed(Layout { hash: &mut *self.hash, keys_are_names })?;
        }
        self.add(b'}', &[]);
        Ok(())
    }
}
