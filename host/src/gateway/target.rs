//! What a path names: parsed once, here, into the words of the system.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::Gateway;
use super::problem::{Kind, Problem};
use crate::engine::{Refused, Status};
use crate::message::{AggregateId, AggregateType};

/// The aggregate type of a path such as `/v1/{type}`. Its module is active.
#[derive(Debug)]
pub struct OfType(pub AggregateType);

/// The aggregate of a path such as `/v1/{type}/{id}`. The module of its type is active.
#[derive(Debug)]
pub struct Target {
    /// Its type.
    pub of: AggregateType,
    /// Its id, percent-decoded.
    pub id: AggregateId,
}

impl FromRequestParts<Gateway> for OfType {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        routed(gateway, &segment(parts, "type").await?).map(Self)
    }
}

impl FromRequestParts<Gateway> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let of = routed(gateway, &segment(parts, "type").await?)?;
        let id = AggregateId::parse(&segment(parts, "id").await?).map_err(Problem::bad_request)?;
        Ok(Self { of, id })
    }
}

/// One percent-decoded segment of the path.
///
/// # Errors
/// [`Kind::BadRequest`] if it is not UTF-8.
pub async fn segment(parts: &mut Parts, name: &str) -> Result<String, Problem> {
    let not_utf8 =
        |_| Problem::bad_request("the path is not UTF-8 once percent-decoded: encode each id as UTF-8 first");
    let params = RawPathParams::from_request_parts(parts, &()).await.map_err(not_utf8)?;
    let found = params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
    found.ok_or_else(|| {
        Problem::new(Kind::NoRoute, "the path lacks a segment: see docs/http.md for the paths there are")
    })
}

/// A type whose module is active.
///
/// # Errors
/// [`Kind::UnknownType`]; [`Kind::Unavailable`] while the host starts, as it may not know the type yet.
pub fn routed(gateway: &Gateway, name: &str) -> Result<AggregateType, Problem> {
    let of = AggregateType::parse(name).map_err(|bad| Problem::new(Kind::UnknownType, bad.to_string()))?;
    match gateway.engine.route(&of) {
        Ok(()) => Ok(of),
        Err(refused @ Refused::UnknownType(_)) => match gateway.engine.status() {
            Status::Starting { .. } => Err(starting()),
            _ => Err(refused.into()),
        },
        Err(refused) => Err(refused.into()),
    }
}

fn starting() -> Problem {
    Problem::new(Kind::Unavailable, "the host is starting and restores its lanes: try again when /readyz says so")
}

/// A path segment as it must be written in a URL.
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) || (byte == b'.' && !matches!(text, "." | "..")) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_encoded_so_that_it_stays_one() {
        assert_eq!(percent_encoded("acc-17"), "acc-17");
        assert_eq!(percent_encoded("a/b ä?"), "a%2Fb%20%C3%A4%3F");
        assert_eq!(percent_encoded(".."), "%2E%2E");
        assert_eq!(percent_encoded("a.b"), "a.b");
    }
}
