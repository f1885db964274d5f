//! The rules of a `WebhookReceiver` that neither a structural schema nor a CEL rule can hold.

use serde::de::IgnoredAny;

use super::{Problem, beside};
use crate::api::{FallbackRequest, WebhookReceiverSpec};

pub(super) fn check(spec: &WebhookReceiverSpec, problems: &mut Vec<Problem>) {
    let verification = &spec.verification;
    if let Some(prefix) = verification.token.as_ref().and_then(|token| token.prefix.as_ref()) {
        beside::header_value("spec.verification.token.prefix", prefix, problems);
    }
    if let Some(prefix) = verification.hmac.as_ref().and_then(|hmac| hmac.prefix.as_ref()) {
        beside::header_value("spec.verification.hmac.prefix", prefix, problems);
    }
    for (index, range) in spec.source_ranges.iter().enumerate() {
        // Parsers differ in what they take for a number.
        let length = range.rsplit_once('/').map_or("", |(_, length)| length);
        if length.len() > 1 && length.starts_with('0') {
            problems.push(Problem::new(
                format!("spec.sourceRanges[{index}]"),
                "the length of the prefix must have no leading zero",
            ));
        }
    }
    if let Some(url) = &spec.forward.url {
        beside::url("spec.forward.url", url, problems);
    }
    if let Some(fallback) = &spec.fallback {
        asking("spec.fallback.request", &fallback.request, problems);
    }
}

fn asking(path: &str, request: &FallbackRequest, problems: &mut Vec<Problem>) {
    beside::url(&format!("{path}.url"), &request.url.replace("{id}", "id"), problems);
    beside::named_headers(&format!("{path}.headers"), &request.headers, problems);
    for (index, header) in request.headers.iter().enumerate() {
        if header.value.as_ref().is_some_and(|value| value.contains("{id}")) {
            problems.push(Problem::new(
                format!("{path}.headers[{index}].value"),
                "holds `{id}`, which is filled in in url and body only",
            ));
        }
    }
    // Inside of a text the id can stand whatever it is; beside one it would have to be a number.
    let is_json = |body: &String| serde_json::from_str::<IgnoredAny>(body).is_ok();
    if request.body.as_ref().is_some_and(|body| !is_json(body)) {
        problems.push(Problem::new(
            format!("{path}.body"),
            "must be JSON as it stands, with `{id}` inside of texts, such as {\"id\": \"{id}\"}",
        ));
    }
}
