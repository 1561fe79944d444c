//! One command, and its outcome later.

use axum::body::Body;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::elsewhere;
use super::headers::Envelope;
use super::problem::{Kind, Problem};
use super::query::{Asked, no_query, query};
use super::render::{self, write_outcome, write_string};
use super::target::{Target, percent_encoded, segment};
use super::{Gateway, body, within};
use crate::clock;
use crate::engine::{Answered, Reply, Submission, Unanswered};
use crate::json;
use crate::message::{AggregateId, AggregateType, Command, CommandId, partition_of};

/// `POST /v1/{type}/{id}/commands`: decides one command and waits for its outcome.
pub async fn submit(State(gateway): State<Gateway>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let target = Target::from_request_parts(&mut parts, &gateway).await?;
    no_query(&parts.uri, "a command takes none; its id and the expected version are headers, see docs/http.md")?;
    let envelope = Envelope::read(&parts.headers)?;
    let respond_async = envelope.respond_async;
    let command = read_command(&gateway, target, envelope, body).await?;
    let id = command.command_id.clone();
    if respond_async {
        let location = location(&command.aggregate_type, &command.aggregate_id, &id);
        take(&gateway, command).await.map_err(|problem| problem.about(id.clone()))?;
        return Ok(taken(&id, &location));
    }
    match decide(&gateway, command).await {
        Ok(Ok(answered)) => {
            gateway.metrics.outcome(&answered.entry().answer, answered.repeated);
            Ok(outcome_response(&answered))
        }
        Ok(Err(Unanswered::Elsewhere(appended))) => {
            let limit_ms = gateway.config.http.request_timeout_ms;
            let outcome = elsewhere::outcome(&gateway, &appended, limit_ms).await;
            outcome.map(elsewhere::response).ok_or_else(|| not_known_yet(limit_ms))
        }
        Ok(Err(unanswered)) => {
            gateway.metrics.unanswered();
            Err(unanswered.into())
        }
        Err(problem) => Err(problem),
    }
    .map_err(|problem| problem.about(id))
}

async fn read_command(gateway: &Gateway, to: Target, envelope: Envelope, body: Body) -> Result<Command, Problem> {
    let http = &gateway.config.http;
    let text = body::whole(body, http.body_bytes_max, http.body_timeout_ms).await?;
    let body = json::to_messagepack(&text).map_err(|e| {
        Problem::new(
            Kind::NotJson,
            format!("the body is not one JSON value ({e}): send the command as {{\"Name\":{{…}}}}"),
        )
    })?;
    Ok(Command {
        partition: partition_of(to.id.as_str(), gateway.engine.partitions()),
        aggregate_type: to.of,
        aggregate_id: to.id,
        command_id: envelope.command_id,
        expected_version: envelope.expected_version,
        time_ms: clock::now_ms(),
        correlation_id: envelope.correlation_id,
        traceparent: envelope.traceparent,
        metadata: envelope.metadata,
        offset: None,
        defect: None,
        body_hash: json::body_hash(&body),
        body: body.into(),
    })
}

fn not_known_yet(limit_ms: u64) -> Problem {
    let detail = format!(
        "the outcome was not known within {limit_ms} ms: send the command again with the same command id, or ask for its outcome"
    );
    Problem::new(Kind::NotKnownYet, detail)
}

/// Hands the command over and waits for its commit.
async fn decide(gateway: &Gateway, command: Command) -> Result<Result<Answered, Unanswered>, Problem> {
    let (reply, answer) = oneshot::channel();
    gateway.engine.try_submit(Submission { command, reply: Reply::Once(reply) })?;
    heard(gateway, answer).await
}

/// Hands the command over and waits until it is certain to be answered.
async fn take(gateway: &Gateway, command: Command) -> Result<(), Problem> {
    let (reply, answer) = oneshot::channel();
    gateway.engine.try_submit(Submission { command, reply: Reply::Taken(reply) })?;
    let taken = heard(gateway, answer).await?;
    Ok(taken.inspect_err(|_| gateway.metrics.unanswered())?)
}

async fn heard<T>(
    gateway: &Gateway,
    answer: oneshot::Receiver<Result<T, Unanswered>>,
) -> Result<Result<T, Unanswered>, Problem> {
    let limit_ms = gateway.config.http.request_timeout_ms;
    let answer = within(limit_ms, || not_known_yet(limit_ms), answer).await;
    let answer = answer.inspect_err(|_| gateway.metrics.unanswered())?;
    Ok(answer.unwrap_or(Err(Unanswered::Interrupted)))
}

/// Where the outcome can be asked for.
pub fn location(of: &AggregateType, id: &AggregateId, command_id: &CommandId) -> String {
    format!("/v1/{of}/{}/commands/{}", percent_encoded(id.as_str()), percent_encoded(command_id.as_str()))
}

/// 202: the command will be answered, and the caller did not want to wait for how it ends.
fn taken(id: &CommandId, location: &str) -> Response {
    let mut out = b"{\"command_id\":".to_vec();
    write_string(id.as_str(), &mut out);
    out.push(b'}');
    let mut response = body::json(202, out);
    let headers = response.headers_mut();
    headers.insert("preference-applied", HeaderValue::from_static("respond-async"));
    // A percent-encoded path is a valid header value.
    if let Ok(location) = HeaderValue::from_str(location) {
        headers.insert(header::LOCATION, location);
    }
    response
}

fn outcome_response(answered: &Answered) -> Response {
    let mut out = Vec::with_capacity(512);
    let entry = answered.entry();
    write_outcome(&entry, answered.repeated, &mut out);
    body::json(render::status(&entry.answer), out)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeQuery {
    /// Offset of the command in its topic.
    offset: Option<u64>,
}

impl Asked for OutcomeQuery {
    const FORM: &'static str = "an outcome is asked for without one, or by a host of the log with offset=N";
}

/// Longest wait for the answer to a command at an offset; whoever asks, asks again.
const OFFSET_WAIT_MS: u64 = 2_000;

/// `GET /v1/{type}/{id}/commands/{command_id}`: the outcome of a command that was answered before.
pub async fn outcome(State(gateway): State<Gateway>, request: Request) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    let Target { of, id } = Target::from_request_parts(&mut parts, &gateway).await?;
    let command = CommandId::parse(&segment(&mut parts, "command_id").await?).map_err(Problem::bad_request)?;
    let limit_ms = gateway.config.http.request_timeout_ms;
    let asked: OutcomeQuery = query(&parts.uri)?;
    let answered = match asked.offset {
        // Whoever appended the command asks for the answer to that very record, which may be on its way to this host.
        Some(offset) => {
            let wait = gateway.engine.outcome_at(&of, &id, offset);
            match tokio::time::timeout(std::time::Duration::from_millis(OFFSET_WAIT_MS), wait).await {
                Ok(answered) => answered?.filter(|one| one.entry().command_id == command.as_str()),
                Err(_) => None,
            }
        }
        None => within(limit_ms, super::reads::late(limit_ms), gateway.engine.outcome(&of, &id, &command)).await??,
    };
    let Some(answered) = answered else {
        let detail = format!(
            "{of} \"{id}\" has no outcome for this command id, or it was too long ago: it may be on its way, or was never sent"
        );
        return Err(Problem::new(Kind::UnknownCommand, detail).about(command));
    };
    let mut out = Vec::with_capacity(512);
    write_outcome(&answered.entry(), answered.repeated, &mut out);
    Ok(body::json(200, out))
}
