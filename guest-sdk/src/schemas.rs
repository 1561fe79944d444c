//! JSON Schemas of a module's types, for a build of their own: the module that runs does not carry this code.

use crate::decider::Decider;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;

/// The content of [`crate::contract::SECTION_SCHEMAS`].
#[derive(Serialize)]
struct Schemas {
    command: Schema,
    event: Schema,
    rejection: Schema,
    state: Schema,
}

/// As it may be written to us.
fn read<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>()
}

/// As we write it.
fn written<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}

/// Appends the schemas of `D` as JSON: commands as they are read, everything else as it is written.
pub fn write<D: Decider>(out: &mut Vec<u8>) {
    let schemas = Schemas {
        command: read::<D::Command>(),
        event: written::<D::Event>(),
        rejection: written::<D::Rejection>(),
        state: written::<D>(),
    };
    if let Err(error) = serde_json::to_writer(out, &schemas) {
        panic!("the schemas do not serialise: {error}");
    }
}
