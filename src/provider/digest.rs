//! Digests by which a change is noticed without keeping what changed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::client_headers::{self, Origin};
use super::placeholder::Source;
use super::resolved::Provider;
use crate::api::WebhookSubscriptionSpec;

/// How many bytes of a SHA-256 are kept: enough that two documents never share them by chance.
const KEPT_BYTES: usize = 16;

/// Digest of what the update is made of, token and bytes of Secrets left out.
///
/// Only what the operation sends is in it, as it is sent: the order of headers, a default that is
/// written out or a parameter that no placeholder names make no difference.
pub(super) fn of_document(provider: &Provider, spec: &WebhookSubscriptionSpec) -> String {
    let update = &provider.update;
    let inputs: BTreeMap<String, Value> = update
        .sources()
        .into_iter()
        .map(|source| (source.to_string(), input(source, provider, spec)))
        .collect();
    let headers: BTreeMap<String, &String> =
        update.written.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    hexadecimal(&json!({
        "baseUrl": provider.base_url,
        "method": update.written.method,
        "path": update.written.path,
        "headers": headers,
        "json": update.written.json,
        "contentType": update.content_type,
        "inputs": inputs,
    }))
}

/// Digest of the identity of each Secret, in the order of their headers' names; `None` when there
/// is none.
pub(super) fn of_secrets(secrets: Vec<[String; 3]>) -> Option<String> {
    (!secrets.is_empty()).then(|| hexadecimal(&json!(secrets)))
}

fn input(source: &Source, provider: &Provider, spec: &WebhookSubscriptionSpec) -> Value {
    let headers = || client_headers::effective(spec, provider.content_type.as_deref());
    match source {
        // The id is the remote's and the token is left out by definition.
        Source::Id | Source::Token | Source::Page => Value::Null,
        Source::Action => json!(spec.action),
        Source::PostbackUrl => json!(spec.postback_url),
        Source::Active => json!(spec.is_active()),
        Source::Parameters => json!(spec.parameters),
        Source::Parameter(name) => json!(spec.parameters.get(name)),
        Source::Headers => {
            headers().iter().map(|(name, origin)| json!([name, described(origin.as_ref())])).collect()
        }
        // Its name is written in the operation; that of the subscription is not sent.
        Source::Header(wanted) => headers()
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map_or(Value::Null, |(_, origin)| described(origin.as_ref())),
    }
}

fn described(origin: Option<&Origin<'_>>) -> Value {
    match origin {
        Some(Origin::Written(value)) => json!({ "value": value }),
        Some(Origin::Secret(secret, "")) => json!({ "secret": secret.name, "key": secret.key }),
        Some(Origin::Secret(secret, prefix)) => {
            json!({ "secret": secret.name, "key": secret.key, "prefix": prefix })
        }
        Some(Origin::Token(prefix)) => json!({ "token": prefix }),
        None => Value::Null,
    }
}

/// The first bytes of the SHA-256 of the JSON, whose members stand in the order of their names.
fn hexadecimal(value: &Value) -> String {
    let hash = Sha256::digest(value.to_string().as_bytes());
    hash.iter().take(KEPT_BYTES).map(|byte| format!("{byte:02x}")).collect()
}
