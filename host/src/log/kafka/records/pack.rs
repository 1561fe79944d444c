//! Walking MessagePack as it comes from guests and from strangers: nothing is believed, nothing is recursed into blindly.

/// Nesting of values that is accepted; readers of JSON stop at 128.
pub const DEPTH_MAX: u32 = 100;

/// One marker with what belongs to it. Of maps and arrays only the number of items; these follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    /// nil
    Nil,
    /// true or false
    Bool(bool),
    /// An integer that is not negative.
    Uint(u64),
    /// A negative integer.
    Negative(i64),
    /// A float of 32 bits.
    F32(f32),
    /// A float of 64 bits.
    F64(f64),
    /// A string, which may not be UTF-8.
    Str(&'a [u8]),
    /// Bytes.
    Bin(&'a [u8]),
    /// An extension: type and data.
    Ext(u8, &'a [u8]),
    /// Number of values that follow.
    Array(u32),
    /// Number of pairs that follow.
    Map(u32),
}

/// Reads items off the front of bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    /// A big-endian length of 1, 2 or 4 bytes.
    fn length(&mut self, width: usize) -> Option<u32> {
        Some(self.take(width)?.iter().fold(0, |n, &b| n << 8 | u32::from(b)))
    }

    fn sized(&mut self, width: usize) -> Option<&'a [u8]> {
        let n = self.length(width)?;
        self.take(n as usize)
    }

    fn ext(&mut self, n: usize) -> Option<Item<'a>> {
        let [kind] = self.array()?;
        Some(Item::Ext(kind, self.take(n)?))
    }

    /// The next item; `None` if the bytes end in it or it is the one marker that means nothing.
    pub fn item(&mut self) -> Option<Item<'a>> {
        let signed = |n: i64| if n < 0 { Item::Negative(n) } else { Item::Uint(n as u64) };
        let [marker] = self.array()?;
        Some(match marker {
            0x00..=0x7f => Item::Uint(u64::from(marker)),
            0x80..=0x8f => Item::Map(u32::from(marker & 15)),
            0x90..=0x9f => Item::Array(u32::from(marker & 15)),
            0xa0..=0xbf => Item::Str(self.take(usize::from(marker & 31))?),
            0xc0 => Item::Nil,
            0xc1 => return None,
            0xc2 | 0xc3 => Item::Bool(marker == 0xc3),
            0xc4..=0xc6 => Item::Bin(self.sized(1 << (marker - 0xc4))?),
            0xc7..=0xc9 => {
                let n = self.length(1 << (marker - 0xc7))?;
                return self.ext(n as usize);
            }
            0xca => Item::F32(f32::from_be_bytes(self.array()?)),
            0xcb => Item::F64(f64::from_be_bytes(self.array()?)),
            0xcc => Item::Uint(u64::from(u8::from_be_bytes(self.array()?))),
            0xcd => Item::Uint(u64::from(u16::from_be_bytes(self.array()?))),
            0xce => Item::Uint(u64::from(u32::from_be_bytes(self.array()?))),
            0xcf => Item::Uint(u64::from_be_bytes(self.array()?)),
            0xd0 => signed(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => signed(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => signed(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => signed(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => return self.ext(1 << (marker - 0xd4)),
            0xd9..=0xdb => Item::Str(self.sized(1 << (marker - 0xd9))?),
            0xdc | 0xdd => Item::Array(self.length(2 << (marker - 0xdc))?),
            0xde | 0xdf => Item::Map(self.length(2 << (marker - 0xde))?),
            0xe0..=0xff => Item::Negative(i64::from(marker as i8)),
        })
    }

    /// The bytes of the next whole value. Counts instead of recursing, because depth is the sender's choice.
    pub fn value(&mut self) -> Option<&'a [u8]> {
        let whole = self.0;
        let mut left = 1_u64;
        while left > 0 {
            left -= 1;
            match self.item()? {
                Item::Array(n) => left += u64::from(n),
                Item::Map(n) => left += 2 * u64::from(n),
                _ => {}
            }
        }
        Some(&whole[..whole.len() - self.0.len()])
    }

    /// The next value if it is a string of UTF-8.
    pub fn text(&mut self) -> Option<&'a str> {
        match self.item()? {
            Item::Str(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }
}

/// Whether the bytes are exactly one value.
pub fn is_value(bytes: &[u8]) -> bool {
    let mut from = Reader(bytes);
    from.value().is_some() && from.0.is_empty()
}

/// The only item of `bytes`, which are one value; of maps and arrays the head.
pub fn only(bytes: &[u8]) -> Option<Item<'_>> {
    Reader(bytes).item()
}

/// Appends one value with every number, string and length in its shortest form, as the host's reader of JSON writes it:
/// the same command has the same bytes, whoever wrote it.
///
/// # Errors
/// A sentence about what is wrong with the bytes.
pub fn canonical(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut from = Reader(bytes);
    copy(&mut from, 0, out)?;
    if from.0.is_empty() { Ok(()) } else { Err(format!("{} bytes follow the value", from.0.len())) }
}

fn copy(from: &mut Reader<'_>, depth: u32, out: &mut Vec<u8>) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("it is nested deeper than {DEPTH_MAX} levels"));
    }
    let item = from.item().ok_or("it is cut short, or holds the byte 0xc1")?;
    if let Item::Str(text) = item
        && std::str::from_utf8(text).is_err()
    {
        return Err("a string in it is not UTF-8".into());
    }
    write(item, out);
    let values = match item {
        Item::Array(n) => u64::from(n),
        Item::Map(n) => 2 * u64::from(n),
        _ => 0,
    };
    (0..values).try_for_each(|_| copy(from, depth + 1, out))
}

/// Appends an item in its shortest form.
pub fn write(item: Item<'_>, out: &mut Vec<u8>) {
    use rmp::encode;
    // Writing to a Vec cannot fail.
    let _ = match item {
        Item::Nil => encode::write_nil(out).is_ok(),
        Item::Bool(value) => encode::write_bool(out, value).is_ok(),
        Item::Uint(n) => encode::write_uint(out, n).is_ok(),
        Item::Negative(n) => encode::write_sint(out, n).is_ok(),
        Item::F32(n) => encode::write_f32(out, n).is_ok(),
        Item::F64(n) => encode::write_f64(out, n).is_ok(),
        Item::Str(text) => {
            let written = encode::write_str_len(out, text.len() as u32).is_ok();
            out.extend_from_slice(text);
            written
        }
        Item::Bin(bytes) => encode::write_bin(out, bytes).is_ok(),
        Item::Ext(kind, data) => {
            let written = encode::write_ext_meta(out, data.len() as u32, kind as i8).is_ok();
            out.extend_from_slice(data);
            written
        }
        Item::Array(n) => encode::write_array_len(out, n).is_ok(),
        Item::Map(n) => encode::write_map_len(out, n).is_ok(),
    };
}

/// Appends a string.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    write(Item::Str(text.as_bytes()), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_marker_are_walked_and_made_shortest() {
        for (long, short) in [
            (&b"\xcc\x05"[..], &b"\x05"[..]),
            (b"\xcf\0\0\0\0\0\0\0\x05", b"\x05"),
            (b"\xd3\0\0\0\0\0\0\x01\0", b"\xcd\x01\0"),
            (b"\xd3\xff\xff\xff\xff\xff\xff\xff\xff", b"\xff"),
            (b"\xd1\xff\x00", b"\xd1\xff\x00"),
            (b"\xdb\0\0\0\x01a", b"\xa1a"),
            (b"\xdf\0\0\0\x01\xd9\x01a\xdc\0\x01\xc0", b"\x81\xa1a\x91\xc0"),
            (b"\xc6\0\0\0\x01\xff", b"\xc4\x01\xff"),
            (b"\xc7\x01\x09\xff", b"\xd4\x09\xff"),
            (b"\xca\x3f\x80\0\0", b"\xca\x3f\x80\0\0"),
            (b"\xc3", b"\xc3"),
        ] {
            let mut out = Vec::new();
            assert!(is_value(long), "{long:02x?}");
            canonical(long, &mut out).unwrap();
            assert_eq!(out, short, "{long:02x?}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for bad in [
            &b""[..],
            b"\xc1",
            b"\x91",
            b"\x81\xa1a",
            b"\xa2a",
            b"\xdf\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xa1\xff",
            b"\x01\x01",
            &[0x91; 200],
        ] {
            assert!(canonical(bad, &mut Vec::new()).is_err(), "{bad:02x?}");
        }
        assert!(!is_value(&[0x91; 100_000]));
    }
}
