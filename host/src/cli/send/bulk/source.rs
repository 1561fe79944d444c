//! The lines of a file, each with a command id: whoever sends a line must be able to ask for the same again.

use std::io::{self, BufRead};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::message::CommandId;

/// Longest line that is read; the host takes no longer ones.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One command on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: u64,
    /// Its text with its line break.
    pub text: Vec<u8>,
}

/// The lines of a file that are not blank.
pub struct Source<R> {
    from: R,
    number: u64,
}

impl<R: BufRead> Source<R> {
    /// Reads from here.
    pub fn new(from: R) -> Self {
        Self { from, number: 0 }
    }
}

impl<R: BufRead> Iterator for Source<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<io::Result<Line>> {
        loop {
            let mut text = Vec::new();
            match io::Read::take(&mut self.from, LINE_BYTES_MAX).read_until(b'\n', &mut text) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(e) => return Some(Err(e)),
            }
            self.number += 1;
            let end = text.trim_ascii_end().len();
            if end > 0 {
                text.truncate(end);
                text.push(b'\n');
                return Some(Ok(Line { number: self.number, text: with_id(text) }));
            }
        }
    }
}

/// Lines that are not blank.
///
/// # Errors
/// The file cannot be read.
pub fn count(mut from: impl BufRead) -> io::Result<u64> {
    let (mut lines, mut blank) = (0, true);
    loop {
        let piece = from.fill_buf()?;
        if piece.is_empty() {
            return Ok(lines + u64::from(!blank));
        }
        for byte in piece {
            match byte {
                b'\n' => {
                    lines += u64::from(!blank);
                    blank = true;
                }
                byte => blank &= byte.is_ascii_whitespace(),
            }
        }
        let taken = piece.len();
        from.consume(taken);
    }
}

/// What of a line shows whether it has an id.
#[derive(Deserialize)]
struct Named {
    command_id: Option<IgnoredAny>,
}

/// Puts a fresh id into a line that has none. A line that is no JSON object stays as it is: the host says what is wrong.
fn with_id(text: Vec<u8>) -> Vec<u8> {
    let without = serde_json::from_slice::<Named>(&text).is_ok_and(|named| named.command_id.is_none());
    let Some(open) = text.iter().position(|b| *b == b'{').filter(|_| without) else { return text };
    // An explicit null is another name for "none": the host would refuse the field given twice.
    if text.windows(12).any(|word| word == b"\"command_id\"") {
        return with_id_instead_of_null(text);
    }
    let mut named = text[..=open].to_vec();
    named.extend_from_slice(format!("\"command_id\":\"{}\"", CommandId::fresh()).as_bytes());
    if !text[open + 1..].trim_ascii_start().starts_with(b"}") {
        named.push(b',');
    }
    named.extend_from_slice(&text[open + 1..]);
    named
}

fn with_id_instead_of_null(text: Vec<u8>) -> Vec<u8> {
    let Ok(serde_json::Value::Object(mut line)) = serde_json::from_slice(&text) else { return text };
    line.insert("command_id".into(), CommandId::fresh().as_str().into());
    let mut named = serde_json::Value::Object(line).to_string().into_bytes();
    named.push(b'\n');
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(u64, serde_json::Value)> {
        let lines = Source::new(text.as_bytes()).map(Result::unwrap);
        lines.map(|line| (line.number, serde_json::from_slice(&line.text).unwrap())).collect()
    }

    #[test]
    fn each_line_gets_an_id_and_keeps_the_one_it_has() {
        let lines = read("{\"id\":\"a\"}\n\n {\"command_id\":\"c\"}\r\n{}\n{\"command_id\":null,\"id\":\"b\"}");
        assert_eq!(lines.iter().map(|line| line.0).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert_eq!(lines[1].1["command_id"], "c");
        for at in [0, 2, 3] {
            assert_eq!(lines[at].1["command_id"].as_str().unwrap().len(), 36, "{:?}", lines[at]);
        }
        assert_eq!((lines[0].1["id"].as_str(), lines[3].1["id"].as_str()), (Some("a"), Some("b")));
    }

    #[test]
    fn blank_lines_are_not_counted() {
        assert_eq!(count(&b"{}\n\n  \n{}\r\n{}"[..]).unwrap(), 3);
        assert_eq!(count(&b""[..]).unwrap(), 0);
    }

    #[test]
    fn what_is_no_command_is_left_to_the_host() {
        let lines: Vec<Line> = Source::new(&b"not json\n[1]"[..]).map(Result::unwrap).collect();
        assert_eq!((&lines[0].text[..], &lines[1].text[..]), (&b"not json\n"[..], &b"[1]\n"[..]));
    }
}
