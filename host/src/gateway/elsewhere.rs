//! Requests about aggregates whose lane belongs to another host. A question is asked there, one hop, marked so that it
//! goes no further; a command is never forwarded: it is in its topic already, and only its outcome is asked for (R7).

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawPathParams, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::Gateway;
use super::client::{Answer, Client};
use super::problem::{Kind, Problem};
use crate::clock::Stopwatch;
use crate::message::{AggregateId, FailureReason};

/// Marks a question that another host has passed on.
pub const HOP: &str = "x-ordain-hop";
/// Between two questions to hosts that may not know yet that a lane is theirs.
const BETWEEN: Duration = Duration::from_millis(50);

/// Asks the owner, if that is another host.
pub async fn pass_on(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET || request.headers().contains_key(HOP) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let owner = match RawPathParams::from_request_parts(&mut parts, &()).await {
        Ok(params) => {
            let id = params.iter().find(|(name, _)| *name == "id").map(|(_, id)| id.to_owned());
            id.and_then(|id| AggregateId::parse(&id).ok()).and_then(|id| gateway.engine.owner_elsewhere(&id))
        }
        Err(_) => None,
    };
    let path = parts.uri.path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let Some(owner) = owner else { return next.run(Request::from_parts(parts, body)).await };
    match ask(&gateway, &owner, &path).await {
        Ok(answer) => response(answer),
        Err(why) => Problem::new(
            Kind::Unavailable,
            format!("the host that owns this aggregate, {owner}, does not answer ({why}): try again shortly"),
        )
        .into_response(),
    }
}

async fn ask(gateway: &Gateway, owner: &str, path: &str) -> Result<Answer, String> {
    let mut client = Client::new(owner)?;
    let asked = client.request("GET", path, &[(HOP, "1")], Vec::new());
    match tokio::time::timeout(Duration::from_millis(gateway.config.http.request_timeout_ms), asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("it took too long".to_owned()),
    }
}

fn response(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for name in [header::CONTENT_TYPE, header::ETAG, header::RETRY_AFTER] {
        if let Some(value) = answer.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response.headers_mut().insert(HeaderName::from_static(HOP), HeaderValue::from_static("1"));
    response
}

/// The outcome of a command that is at `offset` of its topic, from whichever host owns its lane within `limit_ms`.
/// `path`: where outcomes of its id are asked for.
pub async fn outcome(gateway: &Gateway, id: &AggregateId, path: &str, offset: u64, limit_ms: u64) -> Option<Response> {
    let watch = Stopwatch::start();
    let path = format!("{path}?offset={offset}");
    while watch.elapsed() < Duration::from_millis(limit_ms) {
        let owner = gateway.engine.owner_elsewhere(id).or_else(|| gateway.engine.own_address());
        if let Some(owner) = owner
            && let Ok(answer) = ask(gateway, &owner, &path).await
            && answer.status == 200
        {
            let status = status_of(&answer.body);
            return Some(response(Answer { status, ..answer }));
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
