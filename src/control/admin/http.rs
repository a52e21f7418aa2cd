//! HTTP: metrics for Prometheus, the same JSON as the control socket, and a health check of the balancer itself.
//! Reads only: nothing can be changed from here.

use std::io;

use axum::Json;
use axum::Router;
use axum::extract::Query;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde::Serialize;
use tokio::net::TcpListener;

use super::Call;
use super::Handle;
use super::connection::BoundedListener;
use super::protocol::Fault;
use super::protocol::FaultKind;
use super::protocol::FlowQuery;

/// Serves every connection of `listener`, for ever.
///
/// # Errors
///
/// None that end it in practice.
pub async fn serve(listener: TcpListener, handle: Handle) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/api/v1/status", get(status))
        .route("/api/v1/services", get(services))
        .route("/api/v1/backends", get(backends))
        .route("/api/v1/flows", get(flows))
        .route("/api/v1/counters", get(counters))
        .with_state(handle);
    axum::serve(BoundedListener::new(listener), router).await
}

async fn metrics(State(handle): State<Handle>) -> Response {
    match handle.ask(Call::Metrics).await {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(fault) => reply::<()>(Err(fault)),
    }
}

/// 200 while the balancer serves; else 503 and why not.
async fn healthz(State(handle): State<Handle>) -> Response {
    match handle.ask(Call::Status).await {
        Ok(status) if status.ready => (StatusCode::OK, "ok\n").into_response(),
        Ok(status) => {
            let why: String = status.not_ready.iter().map(|reason| format!("{reason}\n")).collect();
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
        Err(fault) => reply::<()>(Err(fault)),
    }
}

async fn status(State(handle): State<Handle>) -> Response {
    reply(handle.ask(Call::Status).await)
}

async fn services(State(handle): State<Handle>) -> Response {
    reply(handle.ask(Call::Services).await)
}

/// `?service=web`: only of that service.
#[derive(Debug, Deserialize)]
struct BackendQuery {
    service: Option<String>,
}

async fn backends(State(handle): State<Handle>, Query(query): Query<BackendQuery>) -> Response {
    reply(handle.ask(|reply| Call::Backends(query.service, reply)).await.flatten())
}

/// `?service=web&displaced=true&limit=20`, and the other fields of the query.
async fn flows(State(handle): State<Handle>, Query(query): Query<FlowQuery>) -> Response {
    reply(handle.flows(query).await)
}

async fn counters(State(handle): State<Handle>) -> Response {
    reply(handle.ask(Call::Counters).await)
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

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
