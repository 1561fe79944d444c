//! What a decision may look like: frames of events, each one MessagePack value in serde's externally tagged form.
//!
//! An event stays in the log for ever, so it is looked at once, fully, before it gets there: later readers (JSON, other
//! languages) must not be the first to find out that it is torn.

use ordain_sdk::contract::Frames;

/// Nesting of one value; JSON's readers stop at the same depth.
const DEPTH_MAX: usize = 128;

/// Counts the frames of `bytes` after checking each.
///
/// # Errors
/// A sentence about the first frame that is torn or no tagged value.
pub fn count_events(bytes: &[u8]) -> Result<u32, String> {
    let mut count = 0;
    for frame in Frames(bytes) {
        let frame = frame.map_err(|_| format!("frame {count} of its events is cut short"))?;
        if !is_tagged(frame) {
            return Err(format!(
                "event {count} is not one MessagePack value of the form \"Variant\" or {{\"Variant\": …}}"
            ));
        }
        count += 1;
    }
    Ok(count)
}

/// Whether the bytes are exactly one value of serde's externally tagged form: a string, or a map of one string to
/// anything.
pub fn is_tagged(bytes: &[u8]) -> bool {
    match bytes.first() {
        Some(0xa1..=0xbf | 0xd9..=0xdb) => is_value(bytes),
        Some(0x81) => matches!(bytes.get(1), Some(0xa1..=0xbf | 0xd9..=0xdb)) && is_value(bytes),
        _ => false,
    }
}

/// The variant's name of a tagged value.
pub fn variant(bytes: &[u8]) -> Option<&str> {
    let mut rest = if bytes.first() == Some(&0x81) { &bytes[1..] } else { bytes };
    let whole = rest;
    take_head(&mut rest)?;
    let text = &whole[..whole.len() - rest.len()];
    let head = match text.first()? {
        0xa1..=0xbf => 1,
        0xd9 => 2,
        0xda => 3,
        0xdb => 5,
        _ => return None,
    };
    std::str::from_utf8(&text[head..]).ok()
}

/// Whether the bytes are exactly one well-formed value: lengths fit, strings are UTF-8, nesting is bounded.
/// Loops instead of recursing, because depth is the module's choice.
pub fn is_value(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut open = [0_u32; DEPTH_MAX];
    let mut depth = 0;
    loop {
        let Some(children) = take_head(&mut rest) else { return false };
        if children > 0 {
            // Each child takes a byte at least, so a length that lies is known at once.
            if depth == DEPTH_MAX || children > rest.len() as u64 {
                return false;
            }
            open[depth] = children as u32; // a result is bounded far below 4 GiB
            depth += 1;
            continue;
        }
        // A value ended; so do all that it was the last child of.
        loop {
            if depth == 0 {
                return rest.is_empty();
            }
            open[depth - 1] -= 1;
            if open[depth - 1] > 0 {
                break;
            }
            depth -= 1;
        }
    }
}

/// Takes one value that holds no others, or the head of one that does; gives the number of values inside.
fn take_head(rest: &mut &[u8]) -> Option<u64> {
    let (&marker, tail) = rest.split_first()?;
    *rest = tail;
    let plain = |rest: &mut &[u8], n: usize| {
        *rest = rest.get(n..)?;
        Some(0)
    };
    match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Some(0),
        0xa0..=0xbf => take_text(rest, u64::from(marker & 0x1f)),
        0x80..=0x8f => Some(2 * u64::from(marker & 0x0f)),
        0x90..=0x9f => Some(u64::from(marker & 0x0f)),
        0xcc | 0xd0 => plain(rest, 1),
        0xcd | 0xd1 => plain(rest, 2),
        0xca | 0xce | 0xd2 => plain(rest, 4),
        0xcb | 0xcf | 0xd3 => plain(rest, 8),
        0xd9 => take_number(rest, 1).and_then(|n| take_text(rest, n)),
        0xda => take_number(rest, 2).and_then(|n| take_text(rest, n)),
        0xdb => take_number(rest, 4).and_then(|n| take_text(rest, n)),
        0xc4 => take_number(rest, 1).and_then(|n| plain(rest, n as usize)),
        0xc5 => take_number(rest, 2).and_then(|n| plain(rest, n as usize)),
        0xc6 => take_number(rest, 4).and_then(|n| plain(rest, n as usize)),
        0xc7 => take_number(rest, 1).and_then(|n| plain(rest, n as usize + 1)),
        0xc8 => take_number(rest, 2).and_then(|n| plain(rest, n as usize + 1)),
        0xc9 => take_number(rest, 4).and_then(|n| plain(rest, n as usize + 1)),
        0xd4..=0xd8 => plain(rest, 1 + (1 << (marker - 0xd4))),
        0xdc => take_number(rest, 2),
        0xdd => take_number(rest, 4),
        0xde => take_number(rest, 2).map(|n| 2 * n),
        0xdf => take_number(rest, 4).map(|n| 2 * n),
        0xc1 => None,
    }
}

fn take_text(rest: &mut &[u8], length: u64) -> Option<u64> {
    let (text, tail) = rest.split_at_checked(length as usize)?;
    *rest = tail;

    let valid = text.is_ascii() || std::str::from_utf8(text).is_ok();
    valid.then_some(0)
}

/// A big-endian number of `width` bytes.
fn take_number(rest: &mut &[u8], width: usize) -> Option<u64> {
    let (digits, tail) = rest.split_at_checked(width)?;
    *rest = tail;
    Some(digits.iter().fold(0, |n, &b| n << 8 | u64::from(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordain_sdk::contract::write_frame;

    fn pack(json: &str) -> Vec<u8> {
        crate::json::to_messagepack(json.as_bytes()).unwrap()
    }

    #[test]
    fn tagged_values_are_told_from_others() {
        for good in [r#""Closed""#, r#"{"Deposited":{"amount":500}}"#, r#"{"Moved":[1,[2,{"a":"ä"}],null,1.5]}"#] {
            assert!(is_tagged(&pack(good)), "{good}");
        }
        for bad in ["1", "null", "{}", r#"{"A":1,"B":2}"#, r#"["A"]"#, r#""""#] {
            assert!(!is_tagged(&pack(bad)), "{bad}");
        }
        assert_eq!(variant(&pack(r#"{"Deposited":{"amount":500}}"#)), Some("Deposited"));
        assert_eq!(variant(&pack(&format!("{:?}", "x".repeat(300)))), Some(&*"x".repeat(300)));
        assert_eq!(variant(&pack("17")), None);
        assert!(!is_tagged(&[]), "nothing is no value");
        assert!(!is_tagged(&[0x81, 0x01, 0x01]), "a variant has a name");
    }

    #[test]
    fn every_cut_and_every_appendix_is_seen() {
        let whole = pack(r#"{"Opened":{"owner":"ann","limit":-5000,"tags":["x","y"],"rate":0.25,"none":null}}"#);
        assert!(is_tagged(&whole));
        for cut in 0..whole.len() {
            assert!(!is_tagged(&whole[..cut]), "cut at {cut}");
        }
        for more in 0..=255 {
            assert!(!is_tagged(&[&whole[..], &[more]].concat()), "followed by {more}");
        }
    }

    #[test]
    fn every_marker_is_known() {
        for value in [
            &[0xc4, 2, 1, 2][..],
            &[0xc5, 0, 1, 9],
            &[0xc6, 0, 0, 0, 1, 9],
            &[0xc7, 1, 5, 9],
            &[0xc8, 0, 1, 5, 9],
            &[0xc9, 0, 0, 0, 1, 5, 9],
            &[0xd4, 5, 1],
            &[0xd8, 5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
            &[0xdc, 0, 1, 0xc0],
            &[0xdd, 0, 0, 0, 1, 0xc0],
            &[0xde, 0, 1, 1, 0xc3],
            &[0xdf, 0, 0, 0, 1, 1, 0xc2],
            &[0xd9, 1, b'x'],
            &[0xda, 0, 1, b'x'],
            &[0xdb, 0, 0, 0, 1, b'x'],
            &[0xcc, 1],
            &[0xd1, 1, 2],
            &[0xca, 1, 2, 3, 4],
            &[0xd3, 1, 2, 3, 4, 5, 6, 7, 8],
        ] {
            assert!(is_value(value), "{value:x?}");
            for cut in 0..value.len() {
                assert!(!is_value(&value[..cut]), "{value:x?} cut at {cut}");
            }
            let mut decoded = rmp_serde::Deserializer::new(value);
            assert!(serde::de::IgnoredAny::deserialize(&mut decoded).is_ok(), "{value:x?}");
        }
        assert!(!is_value(&[0xc1]), "never used");
        assert!(!is_value(&[0xa1, 0xff]), "not UTF-8");
        assert!(!is_value(&[0xdf, 0xff, 0xff, 0xff, 0xff]), "a length that nothing follows");
        assert!(!is_value(&[0x91; 100_000]), "too deep");
    }

    #[test]
    fn frames_are_counted_and_torn_ones_named() {
        let mut frames = Vec::new();
        write_frame(&mut frames, &pack(r#"{"A":1}"#));
        write_frame(&mut frames, &pack(r#""B""#));
        assert_eq!(count_events(&frames), Ok(2));
        assert_eq!(count_events(&[]), Ok(0));
        assert!(count_events(&frames[..frames.len() - 1]).unwrap_err().contains("frame 1"));
        write_frame(&mut frames, &[]);
        assert!(count_events(&frames).unwrap_err().contains("event 2"));
    }

    use serde::Deserialize as _;
}
