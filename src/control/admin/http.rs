//! HTTP: metrics for Prometheus, the same JSON as the control socket, and a health check of the balancer itself.
//! Reads only: nothing can be changed from here.

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde::Serialize;
use tokio::net::TcpListener;

use super::Call;
use super::Handle;
use super::answers::Answer;
use super::connection;
use super::protocol::Fault;
use super::protocol::FaultKind;
use super::protocol::FlowQuery;

/// Serves every connection of `listener`, for ever.
pub async fn serve(listener: TcpListener, handle: Handle) {
    let reserve = Router::new().route("/healthz", get(healthz)).fallback(busy).with_state(handle.clone());
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/api/v1/status", get(status))
        .route("/api/v1/services", get(services))
        .route("/api/v1/backends", get(backends))
        .route("/api/v1/flows", get(flows))
        .route("/api/v1/counters", get(counters))
        .with_state(handle);
    connection::serve(listener, router, reserve).await;
}

async fn metrics(State(handle): State<Handle>) -> Response {
    stream(handle.metrics().await, OPENMETRICS)
}

/// All connections but those for health checks are in use.
async fn busy() -> (StatusCode, &'static str) {
    (StatusCode::SERVICE_UNAVAILABLE, "too many connections\n")
}

/// 200 while the balancer serves; else 503 and why not.
async fn healthz(State(handle): State<Handle>) -> Response {
    match handle.ask(Call::Health).await {
        Ok(not_ready) if not_ready.is_empty() => (StatusCode::OK, "ok\n").into_response(),
        Ok(not_ready) => {
            let why: String = not_ready.iter().map(|reason| format!("{reason}\n")).collect();
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
        Err(fault) => reply::<()>(Err(fault)),
    }
}

async fn status(State(handle): State<Handle>) -> Response {
    reply(handle.ask(Call::Status).await)
}

async fn services(State(handle): State<Handle>) -> Response {
    stream(handle.services().await, JSON)
}

/// `?service=web`: only of that service.
#[derive(Debug, Deserialize)]
struct BackendQuery {
    service: Option<String>,
}

async fn backends(State(handle): State<Handle>, Query(query): Query<BackendQuery>) -> Response {
    stream(handle.backends(query.service).await, JSON)
}

/// `?service=web&displaced=true&limit=20`, and the other fields of the query.
async fn flows(State(handle): State<Handle>, Query(query): Query<FlowQuery>) -> Response {
    stream(handle.flows(query).await, JSON)
}

async fn counters(State(handle): State<Handle>) -> Response {
    reply(handle.ask(Call::Counters).await)
}

fn stream(answer: Result<Answer, Fault>, content_type: &'static str) -> Response {
    match answer {
        Ok(answer) => {
            let length = answer.length().to_string();
            let head = [(CONTENT_TYPE, content_type), (CONTENT_LENGTH, length.as_str())];
            (head, Body::from_stream(answer)).into_response()
        }
        Err(fault) => reply::<()>(Err(fault)),
    }
}

fn reply<T: Serialize>(answer: Result<T, Fault>) -> Response {
    match answer {
        Ok(result) => Json(result).into_response(),
        Err(fault) => {
            let status = match fault.kind {
                FaultKind::NotFound => StatusCode::NOT_FOUND,
                FaultKind::Malformed | FaultKind::TooLarge | FaultKind::Refused => StatusCode::BAD_REQUEST,
                FaultKind::Busy | FaultKind::Leaving => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, Json(fault)).into_response()
        }
    }
}

const JSON: &str = "application/json";

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
