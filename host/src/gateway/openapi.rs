//! The API as OpenAPI 3.1, with the schemas of each loaded type. A test asks a host whether it serves what stands here, and
//! whether all that it serves stands here.

use serde_json::{Map, Value, json};

use super::problem::Kind;
use crate::decider::schemas::embed::{COMPONENTS, Embedded};
use crate::message::{AGGREGATE_ID_BYTES_MAX, COMMAND_ID_BYTES_MAX, CORRELATION_ID_BYTES_MAX, Digest};
use crate::outcome;

#[cfg(test)]
mod tests;

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

/// The document over the active types.
pub fn document(types: &[Embedded]) -> Value {
    let mut paths = Map::new();
    let mut schemas = common_schemas();
    // Without any type the paths show what they will look like.
    let none = [Embedded::new("any", Digest([0; 32]), None)];
    let named = !types.is_empty();
    for of in if named { types } else { &none } {
        let segment = if named { of.name.as_str() } else { "{type}" };
        paths.extend(of_type(of, segment));
        schemas.extend(of.components());
        let outcome = outcome::schema(&of.reference("event"), &of.rejection_in_outcome());
        schemas.insert(format!("{}.outcome", of.name), outcome);
    }
    paths.extend(of_all());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ordain",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Commands, their outcomes, states and histories of aggregates, with the schemas of the rules that are \
                            active now. docs/http.md says the same in words.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas, "parameters": parameters(), "responses": {"problem": problem()}},
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("{COMPONENTS}{name}")})
}

fn parameter(name: &str) -> Value {
    json!({"$ref": format!("#/components/parameters/{name}")})
}

fn content(media: &str, schema: &Value) -> Value {
    json!({media: {"schema": schema}})
}

fn answer(description: &str, schema: &Value) -> Value {
    json!({"description": description, "content": content(JSON, schema)})
}

/// Answers of an operation that goes well with `good`, and is a problem otherwise.
fn answers(good: Value) -> Value {
    json!({"200": good, "default": {"$ref": "#/components/responses/problem"}})
}

/// An answer that is an outcome or, where there is none, a problem.
fn outcome_or_problem(description: &str, outcome: &Value) -> Value {
    json!({
        "description": description,
        "content": {JSON: {"schema": outcome}, "application/problem+json": {"schema": reference("problem")}},
    })
}

/// The paths of one type. `segment`: what stands for the type in them.
fn of_type(of: &Embedded, segment: &str) -> Map<String, Value> {
    let tag = json!([of.name]);
    let id = |what: &str| format!("{what}_{}", of.name.replace('-', "_"));
    let in_path = |names: &[&str]| {
        let of_type = (segment == "{type}").then_some("type");
        of_type.into_iter().chain(names.iter().copied()).map(parameter).collect::<Vec<_>>()
    };
    let paths = json!({
        format!("/v1/{segment}"): {
            "parameters": in_path(&[]),
            "get": {
                "operationId": id("list"), "tags": tag,
                "summary": "Ids and versions of the type's aggregates",
                "description": "In the order of their ids. Where several hosts share the lanes of a log, those of this host.",
                "parameters": [parameter("after"), parameter("limit")],
                "responses": answers(answer("A page of them.", &list_schema())),
            },
        },
        format!("/v1/{segment}/{{id}}"): {
            "parameters": in_path(&["id"]),
            "get": {
                "operationId": id("get"), "tags": tag,
                "summary": "The state of an aggregate",
                "parameters": [parameter("version"), parameter("min_version"), parameter("known_version")],
                "responses": {
                    "200": {
                        "description": "The state. `ETag` is its version in quotes.",
                        "headers": {"ETag": {"schema": {"type": "string"}}},
                        "content": content(JSON, &state_schema(of)),
                    },
                    "304": {"description": "It still has the version in `If-None-Match`."},
                    "default": {"$ref": "#/components/responses/problem"},
                },
            },
        },
        format!("/v1/{segment}/{{id}}/events"): {
            "parameters": in_path(&["id"]),
            "get": {
                "operationId": id("history"), "tags": tag,
                "summary": "The events of an aggregate",
                "parameters": [parameter("from"), parameter("limit")],
                "responses": answers(answer("A page of them.", &history_schema(of))),
            },
        },
        format!("/v1/{segment}/{{id}}/commands"): {
            "parameters": in_path(&["id"]),
            "post": send(of, &id("send"), &tag),
        },
        format!("/v1/{segment}/{{id}}/commands/{{command_id}}"): {
            "parameters": in_path(&["id", "command_id"]),
            "get": {
                "operationId": id("outcome"), "tags": tag,
                "summary": "What became of a command",
                "responses": answers(answer("Its outcome.", &of.reference("outcome"))),
            },
        },
    });
    match paths {
        Value::Object(paths) => paths,
        _ => Map::new(),
    }
}

fn send(of: &Embedded, id: &str, tag: &Value) -> Value {
    let outcome = of.reference("outcome");
    let names = ["idempotency_key", "if_match", "if_none_match", "prefer", "correlation_id", "traceparent"];
    json!({
        "operationId": id, "tags": tag,
        "summary": "Decides a command",
        "description": "Waits for the outcome, which is final for the command's id. Headers `X-Ordain-Metadata-NAME` become \
                        metadata that rules can read.",
        "parameters": names.map(parameter),
        "requestBody": {"required": true, "content": content(JSON, &of.reference("command"))},
        "responses": {
            "200": answer("Accepted.", &outcome),
            "202": {
                "description": "With `Prefer: respond-async`: it is committed, and `Location` has its outcome.",
                "headers": {"Location": {"schema": {"type": "string"}}},
                "content": content(JSON, &json!({
                    "type": "object", "properties": {"command_id": {"type": "string"}}, "required": ["command_id"],
                })),
            },
            "400": outcome_or_problem("No command that the rules know, or not valid.", &outcome),
            "409": answer("The aggregate does not have the expected version.", &outcome),
            "422": answer("The rules rejected it, or its id was used for another command.", &outcome),
            "500": outcome_or_problem("No decision came about.", &outcome),
            "default": {"$ref": "#/components/responses/problem"},
        },
    })
}

/// The paths that belong to no type.
fn of_all() -> Map<String, Value> {
    let any = json!({"type": "object"});
    let module = answer("What is known of it.", &any);
    let paths = json!({
        "/v1/commands": {"post": {
            "operationId": "send_many", "tags": ["commands"],
            "summary": "Decides many commands",
            "description": "One command per line, one answer per line as they come, both at the same time.",
            "requestBody": {"required": true, "content": content(LINES, &reference("line"))},
            "responses": {
                "200": {"description": "One answer per line.", "content": content(LINES, &reference("answer_line"))},
                "default": {"$ref": "#/components/responses/problem"},
            },
        }},
        "/v1/modules": {
            "get": {
                "operationId": "modules", "tags": ["modules"],
                "summary": "Per type which module decides, which did before, and what was refused and why",
                "responses": answers(answer("All of them.", &any)),
            },
            "post": {
                "operationId": "deploy", "tags": ["modules"],
                "summary": "Checks a module and makes it the active one of its type",
                "requestBody": {"required": true, "content": {"application/wasm": {}}},
                "responses": answers(module.clone()),
            },
        },
        "/v1/modules/{digest}": {
            "parameters": [parameter("digest")],
            "get": {
                "operationId": "module", "tags": ["modules"],
                "summary": "What is known of one module",
                "responses": answers(module),
            },
        },
        "/openapi.json": {"get": {
            "operationId": "openapi", "tags": ["documents"],
            "summary": "This document",
            "responses": answers(answer("OpenAPI 3.1.", &any)),
        }},
        "/asyncapi.json": {"get": {
            "operationId": "asyncapi", "tags": ["documents"],
            "summary": "The topics and records of a log on Kafka",
            "responses": answers(answer("AsyncAPI 3.0. 404 where the log is not on Kafka.", &any)),
        }},
        "/docs": {"get": {
            "operationId": "docs", "tags": ["documents"],
            "summary": "This document for people",
            "responses": {"200": {"description": "A page.", "content": {"text/html": {}}}},
        }},
    });
    match paths {
        Value::Object(paths) => paths,
        _ => Map::new(),
    }
}

fn parameters() -> Value {
    let one = |place: &str, name: &str, description: &str, schema: Value| json!({"in": place, "name": name, "description": description, "required": place == "path", "schema": schema});
    let text = |max: usize| json!({"type": "string", "minLength": 1, "maxLength": max});
    let number = |least: u64| json!({"type": "integer", "minimum": least});
    json!({
        "type": one("path", "type", "The aggregate type.", json!({"type": "string", "pattern": "^[a-z][a-z0-9-]{0,62}$"})),
        "id": one("path", "id", "The aggregate's id: UTF-8, percent-encoded.", text(AGGREGATE_ID_BYTES_MAX)),
        "command_id": one("path", "command_id", "The command's id.", text(COMMAND_ID_BYTES_MAX)),
        "digest": one("path", "digest", "The module's digest.", outcome::digest_schema()),
        "after": one("query", "after", "Go on after this id.", json!({"type": "string"})),
        "limit": one("query", "limit", "Most of one page.", json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 100})),
        "from": one("query", "from", "The first version.", number(1)),
        "version": one("query", "version", "The state as it was at this version.", number(0)),
        "min_version": one("query", "min_version", "Waits until the aggregate has this version.", number(0)),
        "known_version": one("header", "If-None-Match", "A version in quotes: 304 if it is still that one.", json!({"type": "string"})),
        "idempotency_key": one("header", "Idempotency-Key", "The command's id, known for a day and 1,024 commands of its aggregate; without it the host makes one.", text(COMMAND_ID_BYTES_MAX)),
        "if_match": one("header", "If-Match", "The version that the aggregate must have, in quotes: `\"3\"`.", json!({"type": "string"})),
        "if_none_match": one("header", "If-None-Match", "`*`: the aggregate must not exist.", json!({"const": "*"})),
        "prefer": one("header", "Prefer", "`respond-async`: 202 once the command is committed.", json!({"type": "string"})),
        "correlation_id": one("header", "X-Correlation-Id", "Kept with the command and its events.", text(CORRELATION_ID_BYTES_MAX)),
        "traceparent": one("header", "traceparent", "W3C Trace Context.", json!({"type": "string"})),
    })
}

fn problem() -> Value {
    json!({
        "description": "There is no outcome (yet); `detail` says what to do.",
        "content": content("application/problem+json", &reference("problem")),
    })
}

fn common_schemas() -> Map<String, Value> {
    let kinds: Vec<_> = Kind::ALL.iter().map(|kind| format!("urn:ordain:problem:{}", kind.name())).collect();
    let text = json!({"type": "string"});
    let schemas = json!({
        "problem": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": kinds},
                "title": text,
                "status": {"type": "integer"},
                "detail": {"type": "string", "description": "What happened, and what to do."},
                "command_id": {"type": "string", "description": "Ask again under it."},
            },
            "required": ["type", "title", "status", "detail"],
        },
        "line": {
            "type": "object",
            "properties": {
                "type": text,
                "id": text,
                "command": {"description": "As the type's `command`."},
                "command_id": text,
                "expected_version": {"type": "integer", "minimum": 0},
                "correlation_id": text,
                "metadata": {"type": "object"},
            },
            "required": ["type", "id", "command"],
        },
        "answer_line": {
            "type": "object",
            "properties": {
                "line": {"type": "integer", "minimum": 1},
                "outcome": {"type": "object", "description": "As the type's `outcome`."},
                "error": reference("problem"),
            },
            "required": ["line"],
        },
    });
    match schemas {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }
}

fn version_schema() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn state_schema(of: &Embedded) -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": {"type": "string"}, "id": {"type": "string"}, "version": version_schema(),
            "state": of.reference("state"), "module": outcome::digest_schema(),
        },
        "required": ["type", "id", "version", "state", "module"],
    })
}

fn history_schema(of: &Embedded) -> Value {
    let count = json!({"type": "integer", "minimum": 1});
    let event = json!({
        "type": "object",
        "properties": {
            "type": {"type": "string"}, "id": {"type": "string"}, "version": version_schema(),
            "event": of.reference("event"),
            "time": {"type": "string", "format": "date-time"},
            "command_id": {"type": "string"},
            "index": count, "count": count,
            "module": outcome::digest_schema(),
        },
        "required": ["type", "id", "version", "event", "time", "command_id", "index", "count", "module"],
    });
    json!({
        "type": "object",
        "properties": {
            "type": {"type": "string"}, "id": {"type": "string"}, "version": version_schema(),
            "events": {"type": "array", "items": event},
            "next": {"type": "integer", "description": "Go on with `?from=` it."},
        },
        "required": ["type", "id", "version", "events"],
    })
}

fn list_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "aggregates": {"type": "array", "items": {
                "type": "object",
                "properties": {"id": {"type": "string"}, "version": version_schema()},
                "required": ["id", "version"],
            }},
            "next": {"type": "string", "description": "Go on with `?after=` it."},
        },
        "required": ["type", "aggregates"],
    })
}
