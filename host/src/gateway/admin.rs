//! The second listener: for whoever runs the daemon, not for whoever uses it.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Gateway, body};
use crate::engine::Status;

/// `/livez`, `/readyz`, `/metrics`.
pub fn routes(gateway: Gateway) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(super::no_route)
        .method_not_allowed_fallback(super::method_not_allowed)
        .with_state(gateway)
}

/// 200 unless a restart is what helps.
async fn livez(State(gateway): State<Gateway>) -> Response {
    let status = gateway.engine.status();
    status_response(&status, !matches!(status, Status::Failed { .. }))
}

/// 200 while commands are decided; while lanes are restored, how far they are.
async fn readyz(State(gateway): State<Gateway>) -> Response {
    let status = gateway.engine.status();
    status_response(&status, status == Status::Ready)
}

fn status_response(status: &Status, good: bool) -> Response {
    let text = serde_json::to_vec(status).unwrap_or_default();
    body::json(if good { 200 } else { 503 }, text)
}

async fn metrics(State(gateway): State<Gateway>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], gateway.metrics.text()).into_response()
}
