//! Requests about aggregates whose lane belongs to another host. A question is asked there, one hop, marked so that it
//! goes no further; a command is never forwarded: it is in its topic already, and only its outcome is asked for (R7).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawPathParams, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::Gateway;
use super::client::{Answer, Client};
use super::command::location;
use super::problem::{Kind, Problem};
use crate::clock::Stopwatch;
use crate::engine::Appended;
use crate::message::{AggregateId, FailureReason};

/// Marks a question that another host has passed on.
pub const HOP: &str = "x-ordain-hop";
/// How long a question is repeated while its lane moves from one host to another.
const MOVING: Duration = Duration::from_secs(2);
/// Between two questions to hosts that may not know yet that a lane is theirs.
const BETWEEN: Duration = Duration::from_millis(50);

/// Connections to one host that are kept for the next question, and hosts that are remembered.
const KEPT_MAX: usize = 64;

/// Connections to other hosts that nobody uses right now.
#[derive(Debug, Default)]
pub struct Peers(Mutex<HashMap<String, Vec<Client>>>);

impl Peers {
    fn client(&self, owner: &str) -> Result<Client, String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(owner).and_then(Vec::pop);
        kept.map_or_else(|| Client::new(owner), Ok)
    }

    fn keep(&self, owner: &str, client: Client) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT_MAX && !all.contains_key(owner) {
            // Addresses of hosts that are gone.
            all.clear();
        }
        let kept = all.entry(owner.to_owned()).or_default();
        if kept.len() < KEPT_MAX {
            kept.push(client);
        }
    }
}

/// Asks the owner, if that is another host.
pub async fn pass_on(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET || request.headers().contains_key(HOP) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let id = match RawPathParams::from_request_parts(&mut parts, &()).await {
        Ok(params) => params.iter().find(|(name, _)| *name == "id").and_then(|(_, id)| AggregateId::parse(id).ok()),
        Err(_) => None,
    };
    let path = parts.uri.path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let watch = Stopwatch::start();
    while let Some(owner) = id.as_ref().and_then(|id| gateway.engine.owner_elsewhere(id)) {
        let moving = watch.elapsed() < MOVING;
        match ask(&gateway, &owner, &path).await {
            // It does not serve this lane, any more or yet.
            Ok(answer) if answer.status == 503 && moving => {}
            Ok(answer) => return response(answer),
            Err(_) if moving => {}
            Err(why) => {
                let detail =
                    format!("the host that owns this aggregate, {owner}, does not answer ({why}): try again shortly");
                return Problem::new(Kind::Unavailable, detail).into_response();
            }
        }
        tokio::time::sleep(BETWEEN).await;
    }
    next.run(Request::from_parts(parts, body)).await
}

/// Asks another host, who does not ask on.
pub async fn ask(gateway: &Gateway, owner: &str, path: &str) -> Result<Answer, String> {
    let mut client = gateway.peers.client(owner)?;
    let asked = client.request("GET", path, &[(HOP, "1")], Vec::new());
    match tokio::time::timeout(Duration::from_millis(gateway.config.http.request_timeout_ms), asked).await {
        Ok(Ok(answer)) => {
            gateway.peers.keep(owner, client);
            Ok(answer)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it took too long".to_owned()),
    }
}

/// The answer of another host as one of ours.
pub fn response(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for name in [header::CONTENT_TYPE, header::ETAG, header::AGE, header::RETRY_AFTER] {
        if let Some(value) = answer.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response.headers_mut().insert(HeaderName::from_static(HOP), HeaderValue::from_static("1"));
    response
}

/// The outcome of a command that is in its topic, from whichever host owns its lane within `limit_ms`: with the status
/// that it has as the answer to its command.
pub async fn outcome(gateway: &Gateway, appended: &Appended, limit_ms: u64) -> Option<Answer> {
    let watch = Stopwatch::start();
    let Appended { of, id, command_id, offset } = appended;
    let path = format!("{}?offset={offset}", location(of, id, command_id));
    while watch.elapsed() < Duration::from_millis(limit_ms) {
        let owner = gateway.engine.owner_elsewhere(id).or_else(|| gateway.engine.own_address());
        if let Some(owner) = owner
            && let Ok(answer) = ask(gateway, &owner, &path).await
            && answer.status == 200
        {
            let status = status_of(&answer.body);
            return Some(Answer { status, ..answer });
        }
        tokio::time::sleep(BETWEEN).await;
    }
    None
}

/// The part of an outcome that decides about the status.
#[derive(Deserialize)]
struct Outline {
    outcome: String,
    #[serde(default)]
    failure: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    reason: FailureReason,
}

fn status_of(body: &[u8]) -> u16 {
    let Ok(outline) = serde_json::from_slice::<Outline>(body) else { return 502 };
    match (outline.outcome.as_str(), outline.failure.map(|failure| failure.reason)) {
        ("accepted", _) => 200,
        ("conflict", _) => 409,
        ("rejected", _) | (_, Some(FailureReason::CommandIdReused)) => 422,
        (_, Some(FailureReason::Unreadable)) => 400,
        _ => 500,
    }
}
