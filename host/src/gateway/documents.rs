//! The documents that a host serves about itself. Each is made once for a set of modules, by whoever asks first.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::Value;

use super::problem::{Kind, Problem};
use super::{Gateway, body, openapi};
use crate::decider::Module;
use crate::decider::schemas::embed::Embedded;
use crate::log::kafka::asyncapi;
use crate::message::Digest;

/// Nothing of the page comes from elsewhere, and it asks nobody but this host.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                           frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A document and the modules that it was made of.
#[derive(Debug, Default)]
pub struct Made(Mutex<(Vec<Digest>, Option<Bytes>)>);

impl Made {
    fn get(&self, modules: &[Module], make: impl FnOnce(&[Embedded]) -> Value) -> Bytes {
        let digests: Vec<_> = modules.iter().map(Module::digest).collect();
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (of, Some(text)) = &*made
            && *of == digests
        {
            return text.clone();
        }
        let types: Vec<_> = modules
            .iter()
            .map(|module| Embedded::new(module.aggregate_type().as_str(), module.digest(), module.schemas()))
            .collect();
        let text = Bytes::from(make(&types).to_string());
        *made = (digests, Some(text.clone()));
        text
    }
}

/// What was made of the modules that were active last.
#[derive(Debug, Default)]
pub struct Documents {
    openapi: Made,
    asyncapi: Made,
}

/// Makes a document on a thread that may take its time.
async fn document(
    gateway: &Gateway,
    make: impl FnOnce(&Documents, &[Module]) -> Bytes + Send + 'static,
) -> Result<Response, Problem> {
    let (documents, modules) = (Arc::clone(&gateway.documents), gateway.engine.active_modules());
    let made = tokio::task::spawn_blocking(move || make(&documents, &modules)).await;
    let text = made.map_err(|e| Problem::new(Kind::Broken, format!("the document could not be made: {e}")))?;
    Ok(body::json(200, text))
}

/// `GET /openapi.json`: the API, with each loaded type's schemas.
pub async fn openapi(State(gateway): State<Gateway>) -> Result<Response, Problem> {
    document(&gateway, |documents, modules| documents.openapi.get(modules, openapi::document)).await
}

/// `GET /asyncapi.json`: the topics and records of the log on Kafka.
pub async fn asyncapi(State(gateway): State<Gateway>) -> Result<Response, Problem> {
    let Some(options) = gateway.config.kafka() else {
        return Err(Problem::new(
            Kind::NoRoute,
            "the log of this host is not on Kafka, so that there are no topics to describe: GET /openapi.json describes its API",
        ));
    };
    let partitions = gateway.engine.partitions();
    let make = move |types: &[Embedded]| asyncapi::document(&options, partitions, types);
    document(&gateway, move |documents, modules| documents.asyncapi.get(modules, make)).await
}

/// `GET /docs`: the API for people, from `/openapi.json`.
pub async fn docs() -> Response {
    let mut response = include_str!("docs.html").into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
