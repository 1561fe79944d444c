//! Whether JSON can hold a value, and if so, its text: MessagePack in, JSON out, in one pass.
//!
//! "Can hold" means that [`crate::json::append_messagepack`] makes the same value of the text as the guest would see in
//! the bytes. Not so are: bytes and extensions, keys that are no strings or are there twice, strings that are not UTF-8,
//! floats that are not finite, nesting that readers of JSON refuse, and what is not one value at all. A float of 32 bits
//! is written as the double of the same value. `Some(None)` needs no care here: the guest's own encoding has lost it.

use super::pack::{DEPTH_MAX, Item, Reader};
use crate::json::text::{write_number, write_string};

/// Keys of a map that are compared one by one; of larger maps, their hashes.
const FEW_KEYS: usize = 16;

/// Appends the JSON of a value, or nothing and gives `false` if JSON cannot hold it.
pub fn to_json(messagepack: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut from = Reader(messagepack);
    let held = write(&mut from, 0, out).is_some() && from.0.is_empty();
    if !held {
        out.truncate(start);
    }
    held
}

fn write(from: &mut Reader<'_>, depth: u32, out: &mut Vec<u8>) -> Option<()> {
    match from.item()? {
        Item::Nil => out.extend_from_slice(b"null"),
        Item::Bool(true) => out.extend_from_slice(b"true"),
        Item::Bool(false) => out.extend_from_slice(b"false"),
        Item::Uint(n) => write_number(n, out),
        Item::Negative(n) => {
            out.push(b'-');
            write_number(n.unsigned_abs(), out);
        }
        Item::F32(n) => write_float(f64::from(n), out)?,
        Item::F64(n) => write_float(n, out)?,
        Item::Str(text) => write_string(std::str::from_utf8(text).ok()?, out),
        Item::Bin(_) | Item::Ext(..) => return None,
        Item::Array(_) | Item::Map(_) if depth >= DEPTH_MAX => return None,
        Item::Array(n) => {
            out.push(b'[');
            for i in 0..n {
                if i > 0 {
                    out.push(b',');
                }
                write(from, depth + 1, out)?;
            }
            out.push(b']');
        }
        Item::Map(n) => write_map(from, n, depth, out)?,
    }
    Some(())
}

fn write_float(number: f64, out: &mut Vec<u8>) -> Option<()> {
    // serde_json writes null for what is not finite, and the shortest text that reads back as the same double else.
    number.is_finite().then(|| serde_json::to_writer(out, &number).ok())?
}

fn write_map(from: &mut Reader<'_>, pairs: u32, depth: u32, out: &mut Vec<u8>) -> Option<()> {
    let mut few: [&[u8]; FEW_KEYS] = [&[]; FEW_KEYS];
    let mut many = Vec::new();
    out.push(b'{');
    for i in 0..pairs {
        let Item::Str(key) = from.item()? else { return None };
        if pairs as usize <= FEW_KEYS {
            if few[..i as usize].contains(&key) {
                return None;
            }
            few[i as usize] = key;
        } else {
            many.push(xxhash_rust::xxh3::xxh3_64(key));
        }
        if i > 0 {
            out.push(b',');
        }
        write_string(std::str::from_utf8(key).ok()?, out);
        out.push(b':');
        write(from, depth + 1, out)?;
    }
    out.push(b'}');
    // Two keys of one hash may be different ones: then MessagePack holds the value as well as JSON would.
    many.sort_unstable();
    many.windows(2).all(|pair| pair[0] != pair[1]).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn text(value: &impl serde::Serialize) -> Option<String> {
        let bytes = rmp_serde::to_vec_named(value).unwrap();
        let mut out = b"before".to_vec();
        let held = to_json(&bytes, &mut out);
        assert!(held || out == b"before");
        held.then(|| String::from_utf8(out.split_off(6)).unwrap())
    }

    #[test]
    fn what_json_holds_comes_back_the_same() {
        for number in [0.1, -0.0, 1e300, 5e-324, 1.0, 123_456_789.123_456_78, f64::MAX] {
            let back = json::to_messagepack(text(&number).unwrap().as_bytes()).unwrap();
            assert_eq!(back, rmp_serde::to_vec(&number).unwrap(), "{number}");
        }
        assert_eq!(text(&0.1_f32).unwrap(), "0.10000000149011612");
        assert_eq!(text(&(u64::MAX, i64::MIN, 7, -1)).unwrap(), "[18446744073709551615,-9223372036854775808,7,-1]");
        assert_eq!(
            text(&("ä\u{1}\"\\\u{7f}", None::<u8>, true, "")).unwrap(),
            "[\"ä\\u0001\\\"\\\\\u{7f}\",null,true,\"\"]"
        );
    }

    #[test]
    fn what_json_cannot_hold_is_noticed() {
        use std::collections::BTreeMap;
        assert_eq!(text(&BTreeMap::from([(1, 2)])), None);
        assert_eq!(text(&BTreeMap::from([(true, 2)])), None);
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(text(&[number]), None);
        }
        assert_eq!(text(&f32::NAN), None);
        assert_eq!(text(&u128::MAX), None);
        let mut out = Vec::new();
        for bytes in [
            &b"\xc4\x01a"[..],
            b"\xd4\x01a",
            b"\xa1\xff",
            b"\x81\xa1\xff\x01",
            b"\x82\xa1a\x01\xa1a\x01",
            b"\x01\x01",
            b"",
            b"\x91",
            &[0x91; 300],
        ] {
            assert!(!to_json(bytes, &mut out) && out.is_empty(), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_found_among_many() {
        let many: BTreeMap<String, u8> = (0..40).map(|n| (n.to_string(), 1)).collect();
        assert!(text(&many).is_some());
        let mut bytes = b"\xde\0\x11".to_vec();
        (0..16).for_each(|n| bytes.extend_from_slice(&[0xa1, b'a' + n, 1]));
        bytes.extend_from_slice(b"\xa1a\x01");
        assert!(!to_json(&bytes, &mut Vec::new()));
    }

    use std::collections::BTreeMap;
}
