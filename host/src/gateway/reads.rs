//! State, history, and the list of a type's aggregates.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::{Kind, Problem};
use super::render;
use super::target::{OfType, Target};
use super::{Gateway, body, within};
use crate::engine::StateView;

/// Events or aggregates of one page unless the caller says otherwise.
const LIMIT_DEFAULT: usize = 100;
/// Most of one page.
const LIMIT_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateQuery {
    version: Option<u64>,
    min_version: Option<u64>,
}

/// `GET /v1/{type}/{id}`: the state now, at `?version`, or once it has at least `?min_version`.
pub async fn state(
    State(gateway): State<Gateway>,
    Target { of, id }: Target,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked: StateQuery = query(&uri)?;
    let http = &gateway.config.http;
    let view = match (asked.version, asked.min_version) {
        (Some(_), Some(_)) => {
            return Err(Problem::bad_request("version and min_version exclude each other: give one of them"));
        }
        (None, Some(version)) => {
            let late = || {
                let detail = format!(
                    "{of} \"{id}\" did not reach version {version} within {} ms: ask again",
                    http.state_wait_ms
                );
                Problem::new(Kind::VersionNotReached, detail)
            };
            Some(within(http.state_wait_ms, late, gateway.engine.state_from(&of, &id, version)).await??)
        }
        (Some(version), None) => {
            let read = gateway.engine.state_at(&of, &id, version);
            let view = within(http.request_timeout_ms, late(http.request_timeout_ms), read).await??;
            let unknown = || format!("{of} \"{id}\" has no version {version}: ask without ?version for the latest");
            Some(view.ok_or_else(|| Problem::new(Kind::UnknownVersion, unknown()))?)
        }
        (None, None) => {
            within(http.request_timeout_ms, late(http.request_timeout_ms), gateway.engine.state(&of, &id)).await??
        }
    };
    let view = view.ok_or_else(|| never_existed(of.as_str(), id.as_str()))?;
    Ok(state_response(of.as_str(), id.as_str(), &view, &headers))
}

fn state_response(of: &str, id: &str, view: &StateView, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", view.version);
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut out = Vec::with_capacity(512 + 2 * view.state.len());
        render::write_state(of, id, view, &mut out);
        body::json(200, out)
    };
    // Digits in quotes are a valid header value.
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    from: Option<u64>,
    limit: Option<usize>,
}

/// `GET /v1/{type}/{id}/events`: the events from version `?from` on.
pub async fn history(State(gateway): State<Gateway>, Target { of, id }: Target, uri: Uri) -> Result<Response, Problem> {
    let asked: HistoryQuery = query(&uri)?;
    let from = asked.from.unwrap_or(1);
    if from == 0 {
        return Err(Problem::bad_request("from is 0: the first event has version 1"));
    }
    let limit_ms = gateway.config.http.request_timeout_ms;
    let read = gateway.engine.history(&of, &id, from, limit(asked.limit)?);
    let history = within(limit_ms, late(limit_ms), read).await??;
    let history = history.ok_or_else(|| never_existed(of.as_str(), id.as_str()))?;
    let mut out = Vec::with_capacity(4096);
    render::write_history(of.as_str(), id.as_str(), &history, &mut out);
    Ok(body::json(200, out))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/{type}`: ids and versions of the type's aggregates, in byte order of their ids.
pub async fn list(State(gateway): State<Gateway>, OfType(of): OfType, uri: Uri) -> Result<Response, Problem> {
    let asked: ListQuery = query(&uri)?;
    let limit = limit(asked.limit)?;
    let limit_ms = gateway.config.http.request_timeout_ms;
    // One more than asked for tells whether there is a next page.
    let read = gateway.engine.list(&of, asked.after.as_deref(), limit + 1);
    let mut aggregates = within(limit_ms, late(limit_ms), read).await??;
    let more = aggregates.len() > limit;
    aggregates.truncate(limit);
    let next = aggregates.last().filter(|_| more).map(|(id, _)| id.as_str());
    let mut out = Vec::with_capacity(4096);
    render::write_list(of.as_str(), &aggregates, next, &mut out);
    Ok(body::json(200, out))
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(limit) => Err(Problem::bad_request(format!("limit is {limit}: use 1 to {LIMIT_MAX}"))),
    }
}

pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    Query::try_from_uri(uri)
        .map(|Query(asked)| asked)
        .map_err(|e| Problem::bad_request(format!("the query ?{} is not valid: {e}", uri.query().unwrap_or_default())))
}

fn never_existed(of: &str, id: &str) -> Problem {
    Problem::new(Kind::UnknownAggregate, format!("no command for {of} \"{id}\" was ever accepted with an event"))
}

/// A read that took too long.
pub fn late(limit_ms: u64) -> impl FnOnce() -> Problem {
    move || Problem::new(Kind::Unavailable, format!("the read was not answered within {limit_ms} ms: try again"))
}
