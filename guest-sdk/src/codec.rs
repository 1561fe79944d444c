//! The two forms of MessagePack a module speaks.
//!
//! Named: structs are maps with field names, enums are `{"Variant": …}`, and types that have a form for people (a UUID,
//! an IP address) use it, so that JSON from outside and MessagePack inside hold the same values. Commands, events,
//! rejections and states for people.
//! Compact: structs are arrays. Snapshots for the host, which are read by the same state version or thrown away.

use rmp_serde::{Deserializer, Serializer, decode, encode};
use serde::{Deserialize, Serialize, de::IgnoredAny};

/// Appends `value` in the named form.
///
/// # Errors
/// The type's own `Serialize` refuses.
pub fn encode_named<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), encode::Error> {
    value.serialize(&mut Serializer::new(out).with_struct_map().with_human_readable())
}

/// Appends `value` in the compact form.
///
/// # Errors
/// The type's own `Serialize` refuses.
pub fn encode_compact<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), encode::Error> {
    value.serialize(&mut Serializer::new(out))
}

/// Reads the named form from the start of `bytes`.
///
/// # Errors
/// The bytes do not start with a value of this type.
pub fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, decode::Error> {
    T::deserialize(&mut Deserializer::from_read_ref(bytes).with_human_readable())
}

/// Reads the named form of what came from outside, where bytes that follow it are a mistake.
///
/// # Errors
/// The bytes are not exactly one value of this type.
pub fn decode_whole<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, decode::Error> {
    let mut input = Deserializer::from_read_ref(bytes).with_human_readable();
    let value = T::deserialize(&mut input)?;
    match IgnoredAny::deserialize(&mut input) {
        Err(_) => Ok(value),
        Ok(_) => Err(serde::de::Error::custom("bytes follow the value")),
    }
}

/// Reads the compact form.
///
/// # Errors
/// The bytes are not a value of this type.
pub fn decode_compact<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, decode::Error> {
    rmp_serde::from_slice(bytes)
}
