//! The rules of a `WebhookReceiver` that neither a structural schema nor a CEL rule can hold.

use serde::de::IgnoredAny;

use super::{Problem, beyond_schema};
use crate::api::{FallbackRequest, WebhookReceiverSpec, schema};

pub(super) fn check(spec: &WebhookReceiverSpec, problems: &mut Vec<Problem>) {
    let verification = &spec.verification;
    if let Some(prefix) = verification.token.as_ref().and_then(|token| token.prefix.as_ref()) {
        beyond_schema::header_value("spec.verification.token.prefix", prefix, problems);
    }
    if let Some(prefix) = verification.hmac.as_ref().and_then(|hmac| hmac.prefix.as_ref()) {
        beyond_schema::header_value("spec.verification.hmac.prefix", prefix, problems);
    }
    // The evaluator in process reads leading zeros as the API server does not.
    let problem = Problem::new("spec.sourceRanges", schema::RANGES_MESSAGE);
    if !spec.source_ranges.iter().all(|range| is_plain(range)) && !problems.contains(&problem) {
        problems.push(problem);
    }
    if let Some(url) = &spec.forward.url {
        beyond_schema::url("spec.forward.url", url, problems);
    }
    if let Some(fallback) = &spec.fallback {
        asking("spec.fallback.request", &fallback.request, problems);
    }
}

/// Whether address and length are written without leading zeros.
fn is_plain(range: &str) -> bool {
    range.split_once('/').is_some_and(|(address, length)| {
        let is_plain = |number: &str| number == "0" || !number.starts_with('0');
        let is_address = range.parse::<ipnet::IpNet>().is_ok();
        // Of IPv6 the groups may have them (RFC 4291, section 2.2).
        is_address && is_plain(length) && (address.contains(':') || address.split('.').all(is_plain))
    })
}

fn asking(path: &str, request: &FallbackRequest, problems: &mut Vec<Problem>) {
    beyond_schema::url(&format!("{path}.url"), &request.url.replace("{id}", "id"), problems);
    beyond_schema::named_headers(&format!("{path}.headers"), &request.headers, problems);
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
