//! A value of a self-describing format becomes MessagePack in one pass, without a buffer for every map: the length of
//! a map or an array is written when it is known, into the byte that was left for it.

use std::cell::RefCell;
use std::fmt;

use rmp::encode;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// One value as MessagePack, in the shortest form of each number, string and length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed(pub Box<[u8]>);

thread_local! {
    /// Where values are written before their length is known.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of scratch kept for the next value.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        SCRATCH.with_borrow_mut(|out| {
            out.clear();
            out.shrink_to(SCRATCH_BYTES_MAX);
            from.deserialize_any(Value(out))?;
            Ok(Self(Box::from(&out[..])))
        })
    }
}

/// Appends the only value of a JSON text.
pub fn append<'de, R: serde_json::de::Read<'de>>(
    from: &mut serde_json::Deserializer<R>,
    out: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    from.deserialize_any(Value(out))?;
    from.end()
}

/// Appends one value.
struct Value<'a>(&'a mut Vec<u8>);

/// Appends one string, which a key of a map must be.
struct Key<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string as key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        encode::write_str(self.0, text).map_err(E::custom)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        encode::write_nil(self.0).map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        encode::write_bool(self.0, value).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        encode::write_uint(self.0, number).map_err(E::custom).map(drop)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        encode::write_sint(self.0, number).map_err(E::custom).map(drop)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        encode::write_f64(self.0, number).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        encode::write_str(self.0, text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        let (start, mut count) = (self.0.len(), 0);
        self.0.push(0);
        while from.next_element_seed(Value(self.0))?.is_some() {
            count += 1;
        }
        write_length(self.0, start, count, [0x90, 0xdc, 0xdd]);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        let (start, mut count) = (self.0.len(), 0);
        self.0.push(0);
        while from.next_key_seed(Key(self.0))?.is_some() {
            from.next_value_seed(Value(self.0))?;
            count += 1;
        }
        write_length(self.0, start, count, [0x80, 0xde, 0xdf]);
        Ok(())
    }
}

/// Writes the marker of a map or array into the byte at `start`. More than 15 items need more bytes, and move the rest.
fn write_length(out: &mut Vec<u8>, start: usize, count: usize, [fix, wide, widest]: [u8; 3]) {
    let count = count as u32;
    if count < 16 {
        out[start] = fix | count as u8;
    } else if let Ok(count) = u16::try_from(count) {
        out[start] = wide;
        out.splice(start + 1..start + 1, count.to_be_bytes());
    } else {
        out[start] = widest;
        out.splice(start + 1..start + 1, count.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the MessagePack library makes of the same text, by way of a tree of its own for every map.
    fn by_library(json: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut from = serde_json::Deserializer::from_slice(json);
        serde_transcode::transcode(&mut from, &mut rmp_serde::Serializer::new(&mut out)).unwrap();
        out
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value as Json;
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            (-200_i64..70_000).prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            ".{0,40}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 128, 40, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..40).prop_map(Json::from),
                prop::collection::btree_map(".{0,6}", inner, 0..40)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_library(value in json()) {
            let text = value.to_string();
            let packed: Packed = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(packed.0.to_vec(), by_library(text.as_bytes()));
        }
    }

    #[test]
    fn long_maps_and_arrays_have_long_lengths() {
        for count in [15, 16, 65_535, 65_536] {
            let array = format!("[{}]", vec!["1"; count].join(","));
            let map: Vec<String> = (0..count).map(|n| format!("\"{n}\":[{{}}]")).collect();
            let map = format!("{{{}}}", map.join(","));
            for text in [array, map] {
                let packed: Packed = serde_json::from_str(&text).unwrap();
                assert!(packed.0[..] == by_library(text.as_bytes()), "{count} items");
            }
        }
    }
}
