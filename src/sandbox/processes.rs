//! IDUnico's Get Process: `GET /processes/v1/{id}`, for those who ask because no delivery came.

use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use super::cuttable::Peer;
use super::exchange::{Answer, exchange};
use super::faults::{Subject, Target};
use super::ledger::Outcome;
use super::platforms::Asked;
use super::shared::Shared;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/processes/v1/{id}", get(process))
}

/// `Authorization: Bearer` with a living token of this token server, and `APIKEY`.
async fn process(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let mut subject = Subject::new(Target::Process);
    subject.webhook = Some(id.clone());
    let posts = shared.senders.clone();
    exchange(shared, peer, subject, None, move |world, now, _| {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let token = text(AUTHORIZATION.as_str()).filter(|value| {
            value.split_once(' ').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        });
        let verdict = token.map(|token| world.verdict(now, [("authorization", token)].into_iter()));
        if verdict != Some(Outcome::Accepted) {
            return (Answer::error(StatusCode::UNAUTHORIZED, "Unauthorized", "Invalid access token"), None);
        }
        let mut asked = None;
        for post in &posts {
            let said = post.desk().ask(now, &id, text("apikey"));
            asked = said.or(asked);
            if matches!(said, Some(Asked::Status(_))) {
                break;
            }
        }
        (answer(&id, asked), None)
    })
    .await
}

fn answer(id: &str, asked: Option<Asked>) -> Answer {
    match asked {
        Some(Asked::Status(status)) => {
            let result = if status == 3 { "yes" } else { "inconclusive" };
            let body = json!({"id": id, "status": status, "unicoId": {"result": result}});
            Answer::json(StatusCode::OK, &body)
        }
        Some(Asked::WrongKey) => Answer::error(StatusCode::FORBIDDEN, "Forbidden", "Invalid APIKEY"),
        Some(Asked::TooMany) => {
            Answer::error(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests", "10 requests a second")
                .with("retry-after", "1")
        }
        Some(Asked::Unknown) | None => Answer::error(StatusCode::NOT_FOUND, "Not Found", "Process not found"),
    }
}
