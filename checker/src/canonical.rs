//! One number for a value, whatever it was written in: JSON as a client saw it and MessagePack as the guest wrote it
//! give the same hash for the same value. Order of map keys does not count, order of lists does.

use std::fmt;
use std::io::Cursor;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use xxhash_rust::xxh3::xxh3_64;

/// Hash of a value, computed while it is read: no tree is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Canonical(pub u64);

/// Hash of `null`, and of what is absent.
pub const NULL: Canonical = Canonical(0x6e75_6c6c);

const LIST: u64 = 0x11;
const MAP: u64 = 0x22;
const NATURAL: u64 = 0x33;
const NEGATIVE: u64 = 0x44;
const FLOAT: u64 = 0x55;
const TEXT: u64 = 0x66;

/// Joins two hashes; the order counts.
pub fn join(a: u64, b: u64) -> u64 {
    let mixed = (a ^ b.rotate_left(29)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed ^ (mixed >> 31)).wrapping_mul(0xc4ce_b9fe_1a85_ec53) ^ b
}

impl Canonical {
    /// Of a text.
    pub fn text(text: &str) -> Self {
        Self(join(TEXT, xxh3_64(text.as_bytes())))
    }

    /// Of a whole number.
    pub fn integer(number: i64) -> Self {
        match u64::try_from(number) {
            Ok(natural) => Self(join(NATURAL, natural)),
            Err(_) => Self(join(NEGATIVE, number.cast_unsigned())),
        }
    }

    /// Of a map, from its pairs in any order.
    pub fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        let (mut sum, mut count) = (0_u64, 0_u64);
        for (key, value) in pairs {
            sum = sum.wrapping_add(join(Self::text(key).0, value.0));
            count += 1;
        }
        Self(join(join(MAP, count), sum))
    }

    /// Of a list.
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self(items.into_iter().fold(LIST, |hash, item| join(hash, item.0)))
    }

    /// Of a JSON text.
    ///
    /// # Errors
    /// If it is not one JSON value.
    pub fn of_json(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|e| e.to_string())
    }

    /// Of a MessagePack value.
    ///
    /// # Errors
    /// If the bytes are not exactly one MessagePack value.
    pub fn of_messagepack(bytes: &[u8]) -> Result<Self, String> {
        whole_messagepack(bytes)
    }
}

/// Reads exactly one MessagePack value as a `T`.
///
/// # Errors
/// If the bytes do not hold a `T`, or hold more than one value.
pub fn whole_messagepack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut from = rmp_serde::Deserializer::new(Cursor::new(bytes));
    let value = T::deserialize(&mut from).map_err(|e| e.to_string())?;
    match bytes.len() as u64 - from.position() {
        0 => Ok(value),
        left => Err(format!("{left} bytes follow the value")),
    }
}

impl<'de> Deserialize<'de> for Canonical {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Hasher)
    }
}

struct Hasher;

impl<'de> Visitor<'de> for Hasher {
    type Value = Canonical;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Canonical, E> {
        Ok(Canonical(0xb001 + u64::from(value)))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Canonical, E> {
        Ok(Canonical::integer(value))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Canonical, E> {
        Ok(Canonical(join(NATURAL, value)))
    }
    fn visit_f32<E: de::Error>(self, value: f32) -> Result<Canonical, E> {
        // JSON shows the shortest text of an f32; reading that text back gives this f64.
        self.visit_f64(value.to_string().parse().unwrap_or(f64::from(value)))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Canonical, E> {
        Ok(if value.is_finite() { Canonical(join(FLOAT, value.to_bits())) } else { NULL })
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<Canonical, E> {
        Ok(Canonical::text(value))
    }
    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<Canonical, E> {
        // JSON shows bytes as a list of numbers.
        Ok(Canonical::list(value.iter().map(|&byte| Canonical::integer(i64::from(byte)))))
    }
    fn visit_unit<E: de::Error>(self) -> Result<Canonical, E> {
        Ok(NULL)
    }
    fn visit_none<E: de::Error>(self) -> Result<Canonical, E> {
        Ok(NULL)
    }
    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Canonical, D::Error> {
        from.deserialize_any(self)
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Canonical, D::Error> {
        from.deserialize_any(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Canonical, A::Error> {
        let mut hash = LIST;
        while let Some(item) = items.next_element::<Canonical>()? {
            hash = join(hash, item.0);
        }
        Ok(Canonical(hash))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Canonical, A::Error> {
        let (mut sum, mut count) = (0_u64, 0_u64);
        while let Some((key, value)) = pairs.next_entry::<Canonical, Canonical>()? {
            sum = sum.wrapping_add(join(key.0, value.0));
            count += 1;
        }
        Ok(Canonical(join(join(MAP, count), sum)))
    }
}

/// A rejection as the guest wrote it (`"Closed"` or `{"InsufficientFunds": {…}}`), in the two parts clients see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// Name of the variant.
    pub name: String,
    /// What is in it; [`NULL`] if nothing.
    pub inside: Canonical,
}

impl<'de> Deserialize<'de> for Tagged {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TaggedVisitor)
    }
}

struct TaggedVisitor;

impl<'de> Visitor<'de> for TaggedVisitor {
    type Value = Tagged;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a variant's name, or a map with the name as its only key")
    }
    fn visit_str<E: de::Error>(self, name: &str) -> Result<Tagged, E> {
        Ok(Tagged { name: name.to_owned(), inside: NULL })
    }
    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Tagged, A::Error> {
        let Some((name, inside)) = pairs.next_entry()? else {
            return Err(de::Error::custom("an empty map"));
        };
        if pairs.next_entry::<Canonical, Canonical>()?.is_some() {
            return Err(de::Error::custom("more than one key"));
        }
        Ok(Tagged { name, inside })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(json: &str) -> Canonical {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        let packed = rmp_serde::to_vec_named(&value).unwrap();
        let from_json = Canonical::of_json(json.as_bytes()).unwrap();
        assert_eq!(from_json, Canonical::of_messagepack(&packed).unwrap(), "{json}");
        from_json
    }

    #[test]
    fn json_and_messagepack_of_one_value_agree_and_different_values_differ() {
        let texts = [
            "null",
            "true",
            "false",
            "0",
            "1",
            "-1",
            "1.5",
            "\"\"",
            "\"a\"",
            "[]",
            "[1]",
            "[1,2]",
            "[2,1]",
            "[[1],2]",
            "{}",
            r#"{"a":1}"#,
            r#"{"a":2}"#,
            r#"{"b":1}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":null}"#,
            "18446744073709551615",
            "-9223372036854775808",
        ];
        let mut hashes: Vec<_> = texts.iter().map(|text| both(text).0).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), texts.len(), "two different values have one hash");
        assert_eq!(both(r#"{"a":1,"b":2}"#), both(r#"{"b":2,"a":1}"#));
    }

    #[test]
    fn parts_give_the_hash_of_the_whole() {
        let whole = both(r#"{"owner":"ann","balance":-5,"tags":["x"]}"#);
        let parts = [
            ("balance", Canonical::integer(-5)),
            ("tags", Canonical::list([Canonical::text("x")])),
            ("owner", Canonical::text("ann")),
        ];
        assert_eq!(Canonical::map(parts), whole);
    }

    #[test]
    fn what_follows_a_value_is_an_error() {
        assert!(Canonical::of_messagepack(&[1, 1]).is_err());
        assert!(Canonical::of_messagepack(&[]).is_err());
        assert!(Canonical::of_messagepack(&[0x81]).is_err());
    }
}
