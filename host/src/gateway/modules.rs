//! Modules: which there are, and a new one.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use serde::Serialize;

use super::problem::{Kind, Problem};
use super::query::no_query;
use super::{Gateway, body, within};
use crate::decider::modules::{Listing, RefusedListing};
use crate::message::Digest;

/// What paths of modules say to a query.
const NO_QUERY: &str = "this path takes none; a module says itself which type it is for";

/// `GET /v1/modules`: per type what is active, was active, and was refused.
pub async fn list(State(gateway): State<Gateway>, uri: Uri) -> Result<Response, Problem> {
    no_query(&uri, NO_QUERY)?;
    json(200, &gateway.engine.modules())
}

/// What is known of one module.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Known<'a> {
    digest: Option<Digest>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    aggregate_type: Option<&'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lanes: Option<&'a [u32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_ms: Option<i64>,
}

/// `GET /v1/modules/{digest}`: what is known of one module.
pub async fn one(State(gateway): State<Gateway>, Path(digest): Path<String>, uri: Uri) -> Result<Response, Problem> {
    no_query(&uri, NO_QUERY)?;
    let digest = Digest::parse(&digest).map_err(Problem::bad_request)?;
    let listing = gateway.engine.modules();
    let unknown =
        || Problem::new(Kind::UnknownModule, format!("no module {digest} was ever seen: GET /v1/modules lists all"));
    json(200, &find(&listing, digest).ok_or_else(unknown)?)
}

fn find(listing: &Listing, digest: Digest) -> Option<Known<'_>> {
    let of_type = listing.types.iter().find_map(|of| {
        let known = Known { digest: Some(digest), aggregate_type: Some(&of.aggregate_type), ..Known::default() };
        if of.active == digest {
            return Some(Known {
                status: "active",
                since_ms: Some(of.since_ms),
                state_version: Some(of.state_version),
                lanes: Some(&of.lanes),
                ..known
            });
        }
        if of.former.contains(&digest) {
            return Some(Known { status: "former", ..known });
        }
        refused(&of.refused, digest, known)
    });
    of_type.or_else(|| refused(&listing.refused, digest, Known { digest: Some(digest), ..Known::default() }))
}

fn refused<'a>(all: &'a [RefusedListing], digest: Digest, known: Known<'a>) -> Option<Known<'a>> {
    let one = all.iter().find(|refused| refused.digest == Some(digest))?;
    Some(Known { status: "refused", reason: Some(&one.reason), at_ms: Some(one.at_ms), ..known })
}

/// `POST /v1/modules`: checks a module and makes it the active one of its type.
pub async fn deploy(State(gateway): State<Gateway>, uri: Uri, body: Body) -> Result<Response, Problem> {
    no_query(&uri, NO_QUERY)?;
    let http = &gateway.config.http;
    let wasm = body::whole(body, gateway.config.limits.module_bytes_max as usize, http.body_timeout_ms).await?;
    let late = || {
        let detail = format!(
            "the module was not checked within {} ms: GET /v1/modules shows what became of it",
            http.deploy_timeout_ms
        );
        Problem::new(Kind::NotKnownYet, detail)
    };
    let deployed = within(http.deploy_timeout_ms, late, gateway.engine.deploy(wasm.into())).await?;
    let digest = deployed.map_err(|reason| Problem::new(Kind::ModuleRefused, reason))?;
    let listing = gateway.engine.modules();
    let fresh = Known { digest: Some(digest), status: "active", ..Known::default() };
    json(200, &find(&listing, digest).unwrap_or(fresh))
}

fn json(status: u16, value: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_vec(value)
        .map_err(|e| Problem::new(Kind::Broken, format!("the answer could not be written: {e}")))?;
    Ok(body::json(status, text))
}
