//! What the headers of a command say.

use axum::http::{HeaderMap, HeaderName};
use rmp::encode::{write_map_len, write_str};

use super::problem::Problem;
pub use crate::message::CORRELATION_ID_BYTES_MAX;
use crate::message::{CommandId, is_correlation_id, is_traceparent};

/// Headers with this prefix become the command's metadata: `X-Ordain-Metadata-Channel: web` is `{"channel":"web"}`.
pub const METADATA_PREFIX: &str = "x-ordain-metadata-";

/// Everything about a command that is not its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// From `Idempotency-Key`, or a fresh one.
    pub command_id: CommandId,
    /// From `If-Match: "3"` or `If-None-Match: *`.
    pub expected_version: Option<u64>,
    /// From `X-Correlation-Id`; empty if there is none.
    pub correlation_id: Box<str>,
    /// From `traceparent`; empty if there is none, or not a valid one.
    pub traceparent: Box<str>,
    /// From the headers that begin with [`METADATA_PREFIX`], as a MessagePack map; empty if there are none.
    pub metadata: Box<[u8]>,
    /// `Prefer: respond-async` was given.
    pub respond_async: bool,
}

impl Envelope {
    /// Reads the headers.
    ///
    /// # Errors
    /// A bad-request problem that names the header and what it should be.
    pub fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let command_id = match single(headers, "idempotency-key")? {
            Some(id) => CommandId::parse(id).map_err(Problem::bad_request)?,
            None => CommandId::fresh(),
        };
        let correlation_id = correlation_id(single(headers, "x-correlation-id")?.unwrap_or_default())?;
        // W3C Trace Context: a receiver goes on without a traceparent that it cannot read.
        let traceparent = single(headers, "traceparent")?.filter(|t| is_traceparent(t)).unwrap_or_default();
        Ok(Self {
            command_id,
            expected_version: expected_version(headers)?,
            correlation_id,
            traceparent: traceparent.into(),
            metadata: metadata(headers)?,
            respond_async: prefers_async(headers),
        })
    }
}

/// A correlation id within its bounds.
///
/// # Errors
/// A bad-request problem.
pub fn correlation_id(text: &str) -> Result<Box<str>, Problem> {
    if !is_correlation_id(text) {
        return Err(Problem::bad_request(format!(
            "the correlation id is not valid: use at most {CORRELATION_ID_BYTES_MAX} bytes without control characters"
        )));
    }
    Ok(text.into())
}

/// The value of a header that may be given once.
fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(HeaderName::from_static(name)).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad_request(format!("the header {name} is given twice: give it once")));
    }
    text_of(name, value.as_bytes()).map(Some)
}

fn text_of<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, Problem> {
    std::str::from_utf8(value)
        .map_err(|_| Problem::bad_request(format!("the header {name} is not UTF-8: encode it so")))
}

fn expected_version(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let (matches, none) = (single(headers, "if-match")?, single(headers, "if-none-match")?);
    match (matches.map(str::trim), none.map(str::trim)) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(0)),
        (None, Some(other)) => Err(Problem::bad_request(format!(
            "If-None-Match is {other:?}: the only value for a command is *, which means that the aggregate must not exist"
        ))),
        (Some(tag), None) => quoted_version(tag).map(Some).ok_or_else(|| {
            Problem::bad_request(format!(
                "If-Match is {tag:?}: write the expected version in quotes, as the ETag of the aggregate shows it, for example \"3\""
            ))
        }),
        (Some(_), Some(_)) => Err(Problem::bad_request("If-Match and If-None-Match exclude each other: give one of them")),
    }
}

/// The version of an entity tag such as `"3"`.
pub fn quoted_version(tag: &str) -> Option<u64> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn prefers_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("respond-async"))
}

fn metadata(headers: &HeaderMap) -> Result<Box<[u8]>, Problem> {
    let mut pairs = Vec::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(METADATA_PREFIX) {
            pairs.push((key, text_of(name.as_str(), value.as_bytes())?));
        }
    }
    if pairs.is_empty() {
        return Ok(Box::default());
    }
    pairs.sort_unstable();
    if pairs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(Problem::bad_request(format!("a header {METADATA_PREFIX}… is given twice: give each once")));
    }
    let mut out = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = write_map_len(&mut out, pairs.len() as u32);
    for (key, value) in pairs {
        let _ = write_str(&mut out, key);
        let _ = write_str(&mut out, value);
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn read(pairs: &[(&'static str, &str)]) -> Result<Envelope, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Envelope::read(&headers).map_err(|problem| problem.detail)
    }

    #[test]
    fn all_headers_are_read() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let envelope = read(&[
            ("idempotency-key", "c-1"),
            ("if-match", "\"3\""),
            ("x-correlation-id", "order 7"),
            ("traceparent", trace),
            ("prefer", "wait=5, Respond-Async"),
            ("x-ordain-metadata-user", "ann"),
            ("x-ordain-metadata-channel", "web"),
        ])
        .unwrap();
        let mut metadata = Vec::new();
        crate::json::from_messagepack(&envelope.metadata, &mut metadata).unwrap();
        assert_eq!(metadata, br#"{"channel":"web","user":"ann"}"#);
        assert_eq!((envelope.command_id.as_str(), envelope.expected_version), ("c-1", Some(3)));
        assert_eq!((&*envelope.correlation_id, &*envelope.traceparent), ("order 7", trace));
        assert!(envelope.respond_async);
    }

    #[test]
    fn without_headers_there_is_a_fresh_id_and_nothing_else() {
        let (one, two) = (read(&[]).unwrap(), read(&[]).unwrap());
        assert_ne!(one.command_id, two.command_id);
        assert_eq!((one.expected_version, one.metadata.len(), one.respond_async), (None, 0, false));
    }

    #[test]
    fn expected_versions_come_in_two_forms() {
        assert_eq!(read(&[("if-none-match", "*")]).unwrap().expected_version, Some(0));
        assert_eq!(read(&[("if-match", "\"0\"")]).unwrap().expected_version, Some(0));
        for bad in ["3", "*", "\"\"", "\"+3\"", "W/\"3\"", "\"99999999999999999999\"", "\"1\", \"2\""] {
            assert!(read(&[("if-match", bad)]).unwrap_err().contains("If-Match"), "{bad}");
        }
        assert!(read(&[("if-none-match", "\"3\"")]).is_err());
        assert!(read(&[("if-match", "\"3\""), ("if-none-match", "*")]).is_err());
    }

    #[test]
    fn what_is_ambiguous_or_too_long_is_refused() {
        assert!(read(&[("idempotency-key", "a"), ("idempotency-key", "b")]).unwrap_err().contains("twice"));
        assert!(read(&[("idempotency-key", "a b")]).is_err());
        assert!(read(&[("x-correlation-id", &"x".repeat(257))]).is_err());
        assert!(read(&[("x-ordain-metadata-a", "1"), ("x-ordain-metadata-a", "2")]).is_err());
    }

    #[test]
    fn a_bad_traceparent_is_ignored() {
        for bad in ["", "00-0-0-0", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] {
            assert_eq!(&*read(&[("traceparent", bad)]).unwrap().traceparent, "");
        }
    }
}
