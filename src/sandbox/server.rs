//! The listener and the routes.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use tokio::net::TcpListener;

use super::cuttable::{CuttableListener, Peer};
use super::exchange::Answer;
use super::shared::Shared;
use super::{admin, application, gupy, processes, receiver, token_endpoint};

/// Serves until the sandbox shuts down.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let routes = Router::new()
        .merge(gupy::routes())
        .merge(token_endpoint::routes())
        .merge(receiver::routes())
        .merge(application::routes())
        .merge(processes::routes())
        .nest("/admin", admin::routes())
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .with_state(Arc::clone(&shared))
        .into_make_service_with_connect_info::<Peer>();
    let served = axum::serve(CuttableListener(listener), routes)
        .with_graceful_shutdown(async move { shared.closed().await })
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the sandbox stopped listening");
    }
}

async fn nothing_here() -> axum::response::Response {
    Answer::error(StatusCode::NOT_FOUND, "Not Found", "Endpoint not found").into_response()
}
