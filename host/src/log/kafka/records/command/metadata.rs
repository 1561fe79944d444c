//! Headers that mean nothing to the host become the command's metadata, and metadata becomes headers.
//!
//! A header is a name and bytes: its value becomes a string if it is UTF-8, bytes if it is not, nil if it is null; of a
//! name that is there more than once the last value counts, as Kafka's own clients have it. Metadata that is more than
//! texts by name (numbers, nested maps) travels whole in one header, `ordain-metadata`, as MessagePack.

use super::super::pack::{self, Item, Reader};
use super::super::{HeaderView, name};
use super::{Defect, FailureReason, Limits, defect, unreadable};

/// Most entries that become a header each.
const PLAIN_MAX: u32 = 48;

/// Whether a header has a meaning of its own.
fn is_reserved(header: &[u8]) -> bool {
    [
        name::CONTENT_TYPE,
        name::ID,
        name::COMMAND_ID,
        name::EXPECTED_VERSION,
        name::TIME,
        name::CORRELATION_ID,
        name::TRACEPARENT,
        name::METADATA,
    ]
    .iter()
    .any(|name| name.to_bytes() == header)
}

/// The metadata in headers as a MessagePack map; empty if there is none. `named_by_id`: the command's id is in `ce_id`,
/// so that a `ce_commandid` beside it is metadata.
pub fn read(headers: &[HeaderView<'_>], named_by_id: bool, limits: &Limits) -> Result<Box<[u8]>, Box<Defect>> {
    let is_metadata = |header: &[u8]| {
        !is_reserved(header)
            || header == name::METADATA.to_bytes()
            || (named_by_id && header == name::COMMAND_ID.to_bytes())
    };
    let (mut count, mut bytes) = (0, 0);
    for (header, value) in headers.iter().filter(|(header, _)| is_metadata(header)) {
        count += 1;
        bytes += header.len() + value.map_or(0, <[u8]>::len);
    }
    if count > limits.headers_max || bytes > limits.headers_bytes_max {
        return Err(defect(
            FailureReason::TooLarge,
            format!(
                "the record has {count} headers of metadata with {bytes} bytes, at most {} with {} are taken: send fewer",
                limits.headers_max, limits.headers_bytes_max
            ),
        ));
    }
    let whole = super::single(headers, name::METADATA)?;
    let mut plain = Vec::with_capacity(count);
    for (n, (header, value)) in headers.iter().enumerate() {
        let overruled = || headers[n + 1..].iter().any(|(later, _)| later == header);
        if is_metadata(header) && *header != name::METADATA.to_bytes() && !overruled() {
            let header = std::str::from_utf8(header)
                .map_err(|_| unreadable(format!("the name of header {} is not UTF-8: send it so", n + 1)))?;
            plain.push((header, *value));
        }
    }
    let Some(whole) = whole else { return Ok(if plain.is_empty() { Box::default() } else { map(&[], 0, &plain) }) };
    let wrong = || unreadable("the header ordain-metadata is not one MessagePack map: send one, or plain headers");
    let mut canonical = Vec::with_capacity(whole.len());
    pack::canonical(whole, &mut canonical).map_err(|_| wrong())?;
    let mut from = Reader(&canonical);
    let Some(Item::Map(pairs)) = from.item() else { return Err(wrong()) };
    Ok(map(from.0, pairs, &plain))
}

/// A map of pairs that are written already, and headers.
fn map(written: &[u8], pairs: u32, headers: &[(&str, Option<&[u8]>)]) -> Box<[u8]> {
    let mut out = Vec::new();
    pack::write(Item::Map(pairs + headers.len() as u32), &mut out);
    out.extend_from_slice(written);
    for (name, value) in headers {
        pack::write_text(name, &mut out);
        let item = match value {
            None => Item::Nil,
            Some(value) if std::str::from_utf8(value).is_ok() => Item::Str(value),
            Some(value) => Item::Bin(value),
        };
        pack::write(item, &mut out);
    }
    out.into()
}

/// Headers from which [`read`] makes the same metadata again.
pub fn write(metadata: &[u8]) -> Vec<(Box<str>, Vec<u8>)> {
    match plain(metadata) {
        Some(headers) => headers,
        None if metadata.is_empty() => Vec::new(),
        None => vec![(name::METADATA.to_string_lossy().into(), metadata.into())],
    }
}

/// Metadata as one header per entry, if that says it all.
fn plain(metadata: &[u8]) -> Option<Vec<(Box<str>, Vec<u8>)>> {
    let mut from = Reader(metadata);
    let Some(Item::Map(pairs @ 1..=PLAIN_MAX)) = from.item() else { return None };
    let mut headers: Vec<(Box<str>, Vec<u8>)> = Vec::with_capacity(pairs as usize);
    for _ in 0..pairs {
        let (key, value) = (from.text()?, from.text()?);
        let usable = !key.is_empty() && !key.contains('\0') && !is_reserved(key.as_bytes());
        if !usable || headers.iter().any(|(other, _)| **other == *key) {
            return None;
        }
        headers.push((key.into(), value.into()));
    }
    from.0.is_empty().then_some(headers)
}
