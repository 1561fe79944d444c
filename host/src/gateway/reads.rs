//! State, history, and the list of a type's aggregates.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::elsewhere;
use super::problem::{Kind, Problem};
use super::query::{Asked, query};
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
    #[serde(default)]
    current: bool,
}

impl Asked for StateQuery {
    const FORM: &'static str =
        "write version=N or min_version=N with a whole number, or current=true, or nothing for the latest state";
}

/// `GET /v1/{type}/{id}`: the state now, at `?version`, or once it has at least `?min_version`. `?current=true` has the host
/// prove first that nobody else owns the aggregate, so that whatever was answered anywhere before is in it.
pub async fn state(
    State(gateway): State<Gateway>,
    Target { of, id }: Target,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked: StateQuery = query(&uri)?;
    let http = &gateway.config.http;
    let view = match (asked.version, asked.min_version.filter(|least| *least > 0)) {
        _ if asked.current && (asked.version.is_some() || asked.min_version.is_some()) => {
            return Err(Problem::bad_request(
                "current goes with neither version nor min_version: leave one of them out",
            ));
        }
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
            let read = async {
                if asked.current {
                    gateway.engine.state_now(&of, &id).await
                } else {
                    gateway.engine.state(&of, &id).await
                }
            };
            within(http.request_timeout_ms, late(http.request_timeout_ms), read).await??
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
    // Digits, in quotes or not, are a valid header value.
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    // RFC 9111: seconds since the answer was known to be right at its origin.
    response.headers_mut().insert(header::AGE, HeaderValue::from(view.age.as_secs()));
    response
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    from: Option<u64>,
    limit: Option<usize>,
}

impl Asked for HistoryQuery {
    const FORM: &'static str = "write from=N for the first version and limit=N for the most events, both whole numbers";
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

impl Asked for ListQuery {
    const FORM: &'static str =
        "write after=ID for what comes after this id, and limit=N with a whole number for the most ids";
}

/// `GET /v1/{type}`: ids and versions of the type's aggregates, in byte order of their ids. Where several hosts share the
/// lanes, all of them are asked.
pub async fn list(
    State(gateway): State<Gateway>,
    OfType(of): OfType,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let asked: ListQuery = query(&uri)?;
    let limit = limit(asked.limit)?;
    let limit_ms = gateway.config.http.request_timeout_ms;
    // One more than asked for tells whether there is a next page.
    let read = gateway.engine.list(&of, asked.after.as_deref(), limit + 1);
    let mut aggregates = within(limit_ms, late(limit_ms), read).await??;
    let mut more = false;
    if !headers.contains_key(elsewhere::HOP) {
        let others = within(limit_ms, late(limit_ms), listed_elsewhere(&gateway, &uri)).await??;
        more = others.more;
        aggregates = newest(aggregates.into_iter().chain(others.aggregates), limit + 1);
    }
    more |= aggregates.len() > limit;
    aggregates.truncate(limit);
    let next = aggregates.last().filter(|_| more).map(|(id, _)| id.as_str());
    let mut out = Vec::with_capacity(4096);
    render::write_list(of.as_str(), &aggregates, next, &mut out);
    Ok(body::json(200, out))
}

/// A page of another host.
#[derive(Deserialize)]
struct Page {
    aggregates: Vec<Listed>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    version: u64,
}

/// What other hosts list.
#[derive(Default)]
struct Others {
    aggregates: Vec<(String, u64)>,
    /// One of them has more.
    more: bool,
}

/// Asks every other host for the same page.
async fn listed_elsewhere(gateway: &Gateway, uri: &Uri) -> Result<Others, Problem> {
    let mut all = Others::default();
    for owner in gateway.engine.owners_elsewhere()? {
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let unavailable = |why: String| {
            let detail = format!(
                "the host at {owner}, which has some of the aggregates, does not list them ({why}): try again shortly"
            );
            Problem::new(Kind::Unavailable, detail)
        };
        let answer = elsewhere::ask(gateway, &owner, path).await.map_err(unavailable)?;
        if answer.status != 200 {
            return Err(unavailable(format!("status {}", answer.status)));
        }
        let page: Page = serde_json::from_slice(&answer.body).map_err(|error| unavailable(error.to_string()))?;
        all.more |= page.next.is_some();
        all.aggregates.extend(page.aggregates.into_iter().map(|one| (one.id, one.version)));
    }
    Ok(all)
}

/// Each id once, with its largest version: a host may list what it owned before.
fn newest(listed: impl Iterator<Item = (String, u64)>, limit: usize) -> Vec<(String, u64)> {
    let mut all = BTreeMap::new();
    for (id, version) in listed {
        all.entry(id).and_modify(|known: &mut u64| *known = version.max(*known)).or_insert(version);
    }
    all.into_iter().take(limit).collect()
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(limit) => Err(Problem::bad_request(format!("limit is {limit}: use 1 to {LIMIT_MAX}"))),
    }
}

fn never_existed(of: &str, id: &str) -> Problem {
    Problem::new(Kind::UnknownAggregate, format!("no command for {of} \"{id}\" was ever accepted with an event"))
}

/// A read that took too long.
pub fn late(limit_ms: u64) -> impl FnOnce() -> Problem {
    move || Problem::new(Kind::Unavailable, format!("the read was not answered within {limit_ms} ms: try again"))
}
