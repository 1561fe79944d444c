//! Numbers, strings and bytes as text, without the machinery of formatting: the hot paths write thousands a millisecond.

/// Appends bytes in lower-case hex.
pub fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    bytes.iter().for_each(|byte| out.extend_from_slice(&hex(*byte)));
}

/// The two hex digits of a byte.
pub fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// A number as decimal digits, which lie in it.
#[derive(Debug, Clone, Copy)]
pub struct Digits {
    digits: [u8; 20],
    from: u8,
}

impl Digits {
    /// The digits of a number.
    pub fn of(mut number: u64) -> Self {
        let (mut digits, mut from) = ([0; 20], 20);
        loop {
            from -= 1;
            digits[usize::from(from)] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, from };
            }
        }
    }

    /// The digits as text.
    pub fn text(&self) -> &[u8] {
        &self.digits[usize::from(self.from)..]
    }
}

/// Appends a number in decimal digits.
pub fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(Digits::of(number).text());
}

/// Appends a JSON string with its quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.extend_from_slice(text.as_bytes());
    } else {
        write_escaped(text, out);
    }
    out.push(b'"');
}

fn write_escaped(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => {
                out.extend_from_slice(b"\\u00");
                write_hex(&[byte], out);
            }
            _ => out.push(byte),
        }
    }
}
