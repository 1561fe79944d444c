//! Times of records as text: RFC 3339 in UTC with milliseconds, always of the same form.

/// The last millisecond that has four digits of year.
pub const LAST_MS: i64 = 253_402_300_799_999;
/// Bytes of a time's text.
pub const LENGTH: usize = 24;

/// The text of a time in milliseconds since 1970-01-01 UTC, `2026-01-02T03:04:05.678Z`. A time outside 1970 to 9999,
/// which no host takes a command at, is given as the nearest one inside.
pub fn text(time_ms: i64) -> [u8; LENGTH] {
    let ms = time_ms.clamp(0, LAST_MS) as u64;
    let (year, month, day) = date(ms / 86_400_000);
    let in_day = ms % 86_400_000;
    let mut out = *b"0000-00-00T00:00:00.000Z";
    for (at, width, number) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, in_day / 3_600_000),
        (14, 2, in_day / 60_000 % 60),
        (17, 2, in_day / 1000 % 60),
        (20, 3, in_day % 1000),
    ] {
        put(&mut out[at..at + width], number);
    }
    out
}

fn put(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(day: u64) -> (u64, u64, u64) {
    let z = day + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Days from 1970-01-01 to a date, by the same source.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The milliseconds since 1970-01-01 UTC of a text that [`text`] wrote; `None` for any other.
pub fn parse(bytes: &[u8]) -> Option<i64> {
    let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, ms) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let time = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    let time_ms = (time * 1000 + ms) as i64;
    // Comparing with the text of what was read refuses other separators, 31 February and 25 o'clock.
    (text(time_ms) == *bytes).then_some(time_ms)
}

/// The milliseconds since 1970-01-01 UTC of any RFC 3339 text, as senders of commands write them: with or without a
/// fraction, in any zone.
pub fn read(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii())?;
    let (date_time, rest) = text.split_at_checked(19)?;
    let ([date, time], true) = ([&date_time[..10], &date_time[11..]], matches!(&date_time[10..11], "T" | "t" | " "))
    else {
        return None;
    };
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
        None => ("0", rest),
    };
    if fraction.is_empty() {
        return None;
    }
    let local = parse(format!("{date}T{time}.{fraction:0<3.3}Z").as_bytes())?;
    Some(local - minutes_east(zone)? * 60_000)
}

fn minutes_east(zone: &str) -> Option<i64> {
    let (sign, hours, minutes) = match zone.as_bytes() {
        b"Z" | b"z" => return Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => (*sign, &zone[1..3], &zone[4..6]),
        _ => return None,
    };
    let number = |text: &str, most: i64| text.parse().ok().filter(|n| (0..=most).contains(n));
    let minutes = number(hours, 23)? * 60 + number(minutes, 59)?;
    Some(if sign == b'-' { -minutes } else { minutes })
}

/// The text of the last time asked for: the commands of a millisecond share it.
#[derive(Debug, Clone)]
pub struct Cached {
    time_ms: i64,
    text: [u8; LENGTH],
}

impl Default for Cached {
    fn default() -> Self {
        Self { time_ms: 0, text: text(0) }
    }
}

impl Cached {
    /// As [`text`].
    pub fn text(&mut self, time_ms: i64) -> &[u8; LENGTH] {
        if self.time_ms != time_ms {
            *self = Self { time_ms, text: text(time_ms) };
        }
        &self.text
    }

    /// As [`parse`].
    pub fn parse(&mut self, bytes: &[u8]) -> Option<i64> {
        if bytes != self.text {
            let time_ms = parse(bytes)?;
            *self = Self { time_ms, text: text(time_ms) };
        }
        Some(self.time_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_library_and_comes_back(time_ms in 0..=LAST_MS) {
            let library = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(time_ms as u64));
            prop_assert_eq!(text(time_ms).to_vec(), library.to_string().into_bytes());
            prop_assert_eq!(parse(&text(time_ms)), Some(time_ms));
        }
    }

    #[test]
    fn times_of_senders_are_read_in_every_form() {
        let wanted = parse(b"2026-01-02T03:04:05.600Z");
        for good in [
            "2026-01-02T03:04:05.6Z",
            "2026-01-02t03:04:05.600999z",
            "2026-01-02 03:04:05.60Z",
            "2026-01-02T04:34:05.6+01:30",
            "2026-01-01T22:04:05.6-05:00",
        ] {
            assert_eq!(read(good.as_bytes()), wanted, "{good}");
        }
        assert_eq!(read(b"2026-01-02T03:04:05Z"), parse(b"2026-01-02T03:04:05.000Z"));
        for bad in ["", "now", "2026-01-02", "2026-01-02T03:04:05", "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05+1:00"]
        {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
        for bad in
            ["2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+-1:00", "2026-13-02T03:04:05Z", "2026-01-02x03:04:05Z"]
        {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn other_texts_are_no_times() {
        for bad in [
            "",
            "2026-02-30T00:00:00.000Z",
            "2026-02-03T25:00:00.000Z",
            "2026-02-03 00:00:00.000Z",
            "2026-02-03T00:00:00.000z",
            "2026-13-03T00:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "2026-02-03T00:00:00Z",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!((text(-1), text(i64::MAX)), (text(0), text(LAST_MS)));
    }
}
