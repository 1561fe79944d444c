//! Text that came out of a module, made fit for a terminal, a log line and a record: bounded, and nothing in it acts.

use std::fmt::Write;

/// Bytes of one sentence from a module that are kept.
pub const SENTENCE_BYTES_MAX: usize = 1024;

/// Shows bytes as one line of at most `bytes_max` bytes: what is not UTF-8 becomes `\u{fffd}`, control characters,
/// line breaks and marks that change the direction of text are escaped.
pub fn one_line(bytes: &[u8], bytes_max: usize) -> String {
    // A cut inside a character shows as one replacement character at the end, which is as good as a mark.
    let cut = &bytes[..bytes.len().min(bytes_max)];
    let mut line = String::with_capacity(cut.len());
    for c in String::from_utf8_lossy(cut).chars() {
        if line.len() >= bytes_max {
            break;
        }
        if acts(c) {
            let _ = write!(line, "{}", c.escape_default()); // a String takes everything
        } else {
            line.push(c);
        }
    }
    if cut.len() < bytes.len() {
        line.push('…');
    }
    line
}

/// Whether a character does something to its surroundings instead of being shown.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_what_is_read_stays() {
        assert_eq!(one_line("zwölf €".as_bytes(), 100), "zwölf €");
        assert_eq!(one_line(b"\x1b[2J\r\nok\x00", 100), r"\u{1b}[2J\r\nok\u{0}");
        assert_eq!(one_line("a\u{202e}b\u{9b}c".as_bytes(), 100), r"a\u{202e}b\u{9b}c");
        assert_eq!(one_line(b"\xff\xfe", 100), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_flood_is_cut() {
        assert_eq!(one_line(&[b'x'; 5000], 10), "xxxxxxxxxx…");
        assert!(one_line(&[0x1b; 5000], 10).len() < 20);
    }
}
