//! Numbers, times and digests as headers hold them, and values as MessagePack whatever form they came in.

use serde::de::IgnoredAny;

/// Which form a value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON.
    Json,
    /// MessagePack.
    Messagepack,
}

/// The form that a content type names; JSON without one, `None` if it is another.
pub fn form(content_type: Option<&[u8]>) -> Option<Form> {
    let Some(content_type) = content_type else { return Some(Form::Json) };
    let media = String::from_utf8_lossy(content_type).to_ascii_lowercase();
    match media.split(';').next().unwrap_or_default().trim() {
        "application/json" => Some(Form::Json),
        "application/msgpack" | "application/x-msgpack" => Some(Form::Messagepack),
        _ => None,
    }
}

/// A value as MessagePack.
///
/// # Errors
/// If it is not exactly one value of its form.
pub fn messagepack(form: Form, value: &[u8]) -> Result<Vec<u8>, String> {
    match form {
        Form::Messagepack => {
            crate::canonical::Canonical::of_messagepack(value)?;
            Ok(value.to_vec())
        }
        Form::Json => {
            let mut out = Vec::with_capacity(value.len());
            let mut from = serde_json::Deserializer::from_slice(value);
            let mut into = rmp_serde::Serializer::new(&mut out).with_struct_map();
            serde_transcode::transcode(&mut from, &mut into).map_err(|e| e.to_string())?;
            from.end().map_err(|e| e.to_string())?;
            Ok(out)
        }
    }
}

/// Whether bytes are one JSON value, however deep.
pub fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// A number in decimal digits and nothing else.
pub fn number(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The digest of a module, `sha256:` and 64 hex digits.
pub fn digest(bytes: &[u8]) -> Option<[u8; 32]> {
    let hex = bytes.strip_prefix(b"sha256:")?;
    if hex.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(out)
}

/// Milliseconds since 1970-01-01 UTC of a time as RFC 3339 writes it. Parts of a millisecond are dropped.
pub fn time_ms(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let part = |from: usize, to: usize| number(text.get(from..to)?.as_bytes()).map(u64::cast_signed);
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let marks = [(4, b"-"), (7, b"-"), (10, b"T"), (13, b":"), (16, b":")];
    if marks.iter().any(|&(at, mark)| !text.as_bytes()[at].eq_ignore_ascii_case(&mark[0])) {
        return None;
    }
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let mut rest = text.get(19..)?;
    let mut ms = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        ms = number(format!("{:0<3.3}", fraction.get(..digits).filter(|digits| !digits.is_empty())?).as_bytes())?
            .cast_signed();
        rest = &fraction[digits..];
    }
    let offset = match rest.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let minutes = number(&[*h1, *h2])? * 60 + number(&[*m1, *m2])?;
            if *sign == b'+' { minutes.cast_signed() } else { -minutes.cast_signed() }
        }
        _ => return None,
    };
    in_range.then(|| (((days(year, month, day) * 24 + hour) * 60 + minute - offset) * 60 + second) * 1000 + ms)
}

/// Days from 1970-01-01 to a date, counted year by year: a table of month lengths is all there is to it.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    // Leap days of the years before, since year 0.
    let leaps = |year: i64| (year - 1).div_euclid(4) - (year - 1).div_euclid(100) + (year - 1).div_euclid(400);
    let of_years = (year - 1970) * 365 + leaps(year) - leaps(1970);
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let of_months: i64 = lengths.iter().take(usize::try_from(month - 1).unwrap_or(0)).sum();
    of_years + of_months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_other_programs_write_them() {
        // `date -u -d … +%s` gives the seconds.
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00.5Z", 951_825_600_500),
            ("2026-11-25T07:49:36.123Z", 1_795_592_976_123),
            ("2026-11-25T07:49:36.1239Z", 1_795_592_976_123),
            ("2026-11-25T09:49:36.123+02:00", 1_795_592_976_123),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
        ] {
            assert_eq!(time_ms(text.as_bytes()), Some(ms), "{text}");
        }
        for bad in [
            "",
            "2026-11-25",
            "2026-11-25 07:49:36Z",
            "2026-13-25T07:49:36Z",
            "2026-11-25T07:49:36",
            "2026-11-25T07:49:36.Z",
        ] {
            assert_eq!(time_ms(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "-1", "+1", " 1", "1.0", "18446744073709551616"] {
            assert_eq!(number(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn json_becomes_the_same_messagepack_as_elsewhere() {
        let json = br#"{"Deposit":{"amount":500,"tags":["a",null,-1,1.5]}}"#;
        let value: serde_json::Value = serde_json::from_slice(json).unwrap();
        assert_eq!(messagepack(Form::Json, json).unwrap(), rmp_serde::to_vec_named(&value).unwrap());
        assert!(messagepack(Form::Json, b"{} {}").is_err());
        assert!(messagepack(Form::Messagepack, &[1, 1]).is_err());
    }
}
