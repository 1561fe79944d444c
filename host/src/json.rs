//! JSON at the edge, MessagePack inside: transcoding without a tree in between, and a hash that forgives key order.

pub mod text;
mod transcode;

use xxhash_rust::xxh3::xxh3_64;

pub use transcode::Packed;

/// Bytes of JSON become bytes of MessagePack.
///
/// # Errors
/// The text of serde's error, with line and column, if it is not one JSON value.
pub fn to_messagepack(json: &[u8]) -> Result<Vec<u8>, String> {
    let packed: Packed = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    Ok(packed.0.into())
}

/// Appends the MessagePack of bytes of JSON. After an error, what was appended is no value.
///
/// # Errors
/// As [`to_messagepack`].
pub fn append_messagepack(json: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    transcode::append(&mut serde_json::Deserializer::from_slice(json), out).map_err(|e| e.to_string())
}

/// Bytes of MessagePack become JSON text appended to `out`.
///
/// # Errors
/// The text of the error if they are not one MessagePack value, or one that JSON cannot hold (its keys must be strings).
pub fn from_messagepack(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut from = rmp_serde::Deserializer::new(bytes);
    serde_transcode::transcode(&mut from, &mut serde_json::Serializer::new(out)).map_err(|e| e.to_string())
}

/// Hash of a MessagePack value that does not depend on the order of map keys: two texts of the same command agree.
/// Bytes that are not one value hash as they are.
pub fn body_hash(bytes: &[u8]) -> u64 {
    let mut rest = bytes;
    match value_hash(&mut rest, 0) {
        Some(hash) if rest.is_empty() => hash,
        _ => xxh3_64(bytes),
    }
}

/// Nesting at which a value is hashed as plain bytes; JSON is refused far earlier.
const DEPTH_MAX: u32 = 256;

fn value_hash(rest: &mut &[u8], depth: u32) -> Option<u64> {
    if depth > DEPTH_MAX {
        return None;
    }
    let (items, seed) = match *rest.first()? {
        marker @ 0x80..=0x8f => (Some(take_length(rest, 1, usize::from(marker & 0x0f))?), 1),
        0xde => (Some(take_number(rest, 2)?), 1),
        0xdf => (Some(take_number(rest, 4)?), 1),
        marker @ 0x90..=0x9f => (Some(take_length(rest, 1, usize::from(marker & 0x0f))?), 2),
        0xdc => (Some(take_number(rest, 2)?), 2),
        0xdd => (Some(take_number(rest, 4)?), 2),
        _ => (None, 3),
    };
    let Some(items) = items else { return scalar_hash(rest) };
    let mut sum = items as u64;
    for _ in 0..items {
        let one = value_hash(rest, depth + 1)?;
        sum = if seed == 1 { sum.wrapping_add(mix(one, value_hash(rest, depth + 1)?)) } else { mix(sum, one) };
    }
    Some(mix(sum, seed))
}

/// Hash of a value that is neither map nor array, with its marker and length.
fn scalar_hash(rest: &mut &[u8]) -> Option<u64> {
    let bytes = *rest;
    let sized = |prefix: usize, width: usize| {
        let mut at = bytes;
        let n = take_number(&mut at, width)?;
        n.checked_add(prefix + width)
    };
    let length = match bytes[0] {
        marker @ 0xa0..=0xbf => 1 + usize::from(marker & 0x1f),
        0xcc | 0xd0 => 2,
        0xcd | 0xd1 => 3,
        0xca | 0xce | 0xd2 => 5,
        0xcb | 0xcf | 0xd3 => 9,
        0xc4 | 0xd9 => sized(1, 1)?,
        0xc5 | 0xda => sized(1, 2)?,
        0xc6 | 0xdb => sized(1, 4)?,
        0xc7 => sized(2, 1)?,
        0xc8 => sized(2, 2)?,
        0xc9 => sized(2, 4)?,
        marker @ 0xd4..=0xd8 => 2 + (1 << (marker - 0xd4)),
        _ => 1,
    };
    let (value, tail) = bytes.split_at_checked(length)?;
    *rest = tail;
    Some(xxh3_64(value))
}

fn take_length(rest: &mut &[u8], marker: usize, length: usize) -> Option<usize> {
    *rest = rest.get(marker..)?;
    Some(length)
}

/// The big-endian number of `width` bytes behind the marker.
fn take_number(rest: &mut &[u8], width: usize) -> Option<usize> {
    let digits = rest.get(1..1 + width)?;
    *rest = &rest[1 + width..];
    Some(digits.iter().fold(0, |n, &b| n << 8 | usize::from(b)))
}

fn mix(a: u64, b: u64) -> u64 {
    (a ^ b.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(json: &str) -> u64 {
        body_hash(&to_messagepack(json.as_bytes()).unwrap())
    }

    #[test]
    fn key_order_does_not_matter_and_everything_else_does() {
        assert_eq!(hash(r#"{"Open":{"owner":"ann","limit":5}}"#), hash(r#"{"Open":{"limit":5,"owner":"ann"}}"#));
        let different = [
            r#"{"Open":{"owner":"ann","limit":5}}"#,
            r#"{"Open":{"owner":"ann","limit":6}}"#,
            r#"{"Open":{"owner":5,"limit":"ann"}}"#,
            r#"{"Open":{"owner":"ann"}}"#,
            r#"{"Open":["owner","ann"]}"#,
            r#"[1,2]"#,
            r#"[2,1]"#,
            r#"[[1],2]"#,
            r#"[[1,2]]"#,
            r#"1"#,
            r#"1.0"#,
            r#""1""#,
            r#"null"#,
            r#"{}"#,
            r#"[]"#,
        ];
        let mut hashes: Vec<u64> = different.iter().map(|json| hash(json)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), different.len());
    }

    #[test]
    fn garbage_has_a_hash_too() {
        for bytes in
            [&b""[..], &[0x81], &[0xdf, 0xff, 0xff, 0xff, 0xff], &[0xc6, 0xff, 0xff, 0xff, 0xff], &[0x91; 2000]]
        {
            body_hash(bytes);
        }
    }

    #[test]
    fn json_comes_back_as_it_went() {
        let json =
            r#"{"Deposit":{"amount":-500,"big":18446744073709551615,"text":"ä\n","none":null,"list":[1.5,true]}}"#;
        let mut back = Vec::new();
        from_messagepack(&to_messagepack(json.as_bytes()).unwrap(), &mut back).unwrap();
        assert_eq!(String::from_utf8(back).unwrap(), json);
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        assert!(to_messagepack(b"{\"a\":").unwrap_err().contains("line 1"));
        assert!(to_messagepack(b"1 2").is_err());
        assert!(to_messagepack("[".repeat(100_000).as_bytes()).is_err());
    }
}
