//! A record as it lies in a topic: key, value, headers.

use std::fmt;
use std::ops::Range;

type Span = Range<u32>;

/// A record, in one piece of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is in its partition.
    pub offset: u64,
    bytes: Box<[u8]>,
    key: Option<Span>,
    value: Option<Span>,
    headers: Box<[(Span, Option<Span>)]>,
}

/// Bytes of a record's headers, key or value that are shown.
const SHOWN_MAX: usize = 300;

/// Bytes of a module's digest that are shown: `sha256:` and eight digits.
const MODULE_SHOWN: usize = 15;
/// Headers that say nothing of their own about a command.
const PLAIN: [&str; 8] = [
    "ce_specversion",
    "ce_source",
    "ce_id",
    "ce_subject",
    "ce_commandhash",
    "ordain-metadata",
    "content-type",
    "traceparent",
];

impl Record {
    /// Puts a record together. Headers keep their order; a name may be there twice.
    pub fn new<'a>(
        offset: u64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Self {
        let mut bytes = Vec::with_capacity(key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + 512);
        let mut put = |part: &[u8]| {
            // A broker's records are far smaller than 4 GiB.
            let start = bytes.len() as u32;
            bytes.extend_from_slice(part);
            start..bytes.len() as u32
        };
        let (key, value) = (key.map(&mut put), value.map(&mut put));
        let headers = headers.into_iter().map(|(name, value)| (put(name.as_bytes()), value.map(&mut put))).collect();
        Self { offset, key, value, headers, bytes: bytes.into() }
    }

    fn bytes(&self, span: &Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// The key, unless null.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|span| self.bytes(span))
    }

    /// The value, unless null.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_ref().map(|span| self.bytes(span))
    }

    /// The headers in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (self.bytes(name), value.as_ref().map(|span| self.bytes(span))))
    }

    /// The value of a header that may be there once; null counts as absent.
    ///
    /// # Errors
    /// If it is there twice.
    pub fn header(&self, name: &str) -> Result<Option<&[u8]>, String> {
        let mut found = self.headers().filter(|(header, _)| *header == name.as_bytes());
        let value = found.next().and_then(|(_, value)| value);
        match found.next() {
            None => Ok(value),
            Some(_) => Err(format!("the header {name} is there twice")),
        }
    }

    /// Whether a header is there at all, be it null.
    pub fn has(&self, name: &str) -> bool {
        self.headers().any(|(header, _)| header == name.as_bytes())
    }
}

/// Bytes for people, cut where they are long.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_MAX)]).into_owned();
    if bytes.len() > SHOWN_MAX { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key().map_or("null".into(), shown))?;
        for (name, value) in self.headers() {
            let name = String::from_utf8_lossy(name);
            if PLAIN.contains(&&*name) {
                continue;
            }
            let mut text = value.map_or("null".into(), shown);
            if name == "ce_module" {
                text.truncate(text.floor_char_boundary(MODULE_SHOWN));
            }
            write!(f, " {}={text}", name.trim_start_matches("ce_"))?;
        }
        write!(f, " {}", self.value().map_or("null".into(), shown))
    }
}
