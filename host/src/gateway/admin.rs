//! The second listener: for whoever runs the daemon, not for whoever uses it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Gateway, body};
use crate::engine::Status;
use crate::lane::Board;

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
    let text = gateway.metrics.text() + &lanes(&gateway);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// What can be seen of each lane.
fn lanes(gateway: &Gateway) -> String {
    type Read = fn(&Board) -> u64;
    fn of(number: &AtomicU64) -> u64 {
        number.load(Ordering::Relaxed)
    }
    let families: [(&str, &str, &str, Read); 8] = [
        ("ordain_lane_ready", "gauge", "1 where this host owns the lane and decides, else 0", |board| {
            board.ready.load(Ordering::Relaxed).into()
        }),
        ("ordain_lane_commands_total", "counter", "Commands answered", |board| of(&board.commands_answered)),
        ("ordain_lane_commits_total", "counter", "Blocks committed", |board| of(&board.commits)),
        ("ordain_lane_events_restored", "gauge", "Events folded by the restore", |board| of(&board.events_restored)),
        ("ordain_lane_aggregates", "gauge", "Aggregates in memory", |board| of(&board.aggregates)),
        ("ordain_lane_quarantined", "gauge", "Aggregates that the active rules cannot fold", |board| {
            of(&board.quarantined)
        }),
        (
            "ordain_lane_open_transaction_offsets",
            "gauge",
            "Offsets that an open transaction keeps from being read",
            |board| of(&board.open_offsets),
        ),
        ("ordain_lane_open_transaction_age_ms", "gauge", "Milliseconds for which it has been seen open", |board| {
            of(&board.open_ms)
        }),
    ];
    let mut out = String::new();
    for (name, kind, help, read) in families {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}");
        for (lane, board) in gateway.engine.boards().enumerate() {
            let _ = writeln!(out, "{name}{{lane=\"{lane}\"}} {}", read(board));
        }
    }
    out
}
