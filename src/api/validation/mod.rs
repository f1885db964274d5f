//! Whether an object keeps the rules, found out without a server.
//!
//! The rules are written once: bounds, patterns and CEL rules in the schema, which is walked here
//! as the API server walks it, and the few that a schema cannot hold in `beyond_schema`. The shells call
//! this before anything is done with an object, because older servers drop rules silently and a
//! folder of files has no server at all.

mod beyond_schema;
mod problem;
mod receiver;
mod rules;
mod structural;

pub use problem::Problem;
pub(super) use structural::readable;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Kind, TokenSourceSpec, WebhookProviderSpec, WebhookReceiverSpec, WebhookSubscriptionSpec, crd};

/// The spec of one of the four kinds.
pub trait Spec: DeserializeOwned {
    /// The kind whose spec it is.
    const KIND: Kind;

    /// Collects the rules it breaks that a schema cannot hold.
    fn check_beyond_schema(&self, problems: &mut Vec<Problem>);
}

impl Spec for WebhookSubscriptionSpec {
    const KIND: Kind = Kind::WebhookSubscription;

    fn check_beyond_schema(&self, problems: &mut Vec<Problem>) {
        beyond_schema::subscription(self, problems);
    }
}

impl Spec for TokenSourceSpec {
    const KIND: Kind = Kind::TokenSource;

    fn check_beyond_schema(&self, problems: &mut Vec<Problem>) {
        beyond_schema::token_source(self, problems);
    }
}

impl Spec for WebhookProviderSpec {
    const KIND: Kind = Kind::WebhookProvider;

    fn check_beyond_schema(&self, problems: &mut Vec<Problem>) {
        beyond_schema::provider(self, problems);
    }
}

impl Spec for WebhookReceiverSpec {
    const KIND: Kind = Kind::WebhookReceiver;

    fn check_beyond_schema(&self, problems: &mut Vec<Problem>) {
        receiver::check(self, problems);
    }
}

/// Checks the spec of an object against all rules of its kind.
///
/// `object` is the whole object; of it only `spec` is looked at. With `old`, the object as it was
/// before, fields that cannot be changed are compared.
///
/// # Errors
/// Every rule that is broken, as far as it can be told: rules that look at several fields are
/// evaluated only when each field has the right form.
pub fn validate(kind: Kind, object: &Value, old: Option<&Value>) -> Result<(), Vec<Problem>> {
    match kind {
        Kind::WebhookProvider => decode::<WebhookProviderSpec>(object, old).map(drop),
        Kind::TokenSource => decode::<TokenSourceSpec>(object, old).map(drop),
        Kind::WebhookSubscription => decode::<WebhookSubscriptionSpec>(object, old).map(drop),
        Kind::WebhookReceiver => decode::<WebhookReceiverSpec>(object, old).map(drop),
    }
}

/// Checks the spec of an object as [`validate`] does, and reads it.
///
/// # Errors
/// As [`validate`].
pub fn decode<S: Spec>(object: &Value, old: Option<&Value>) -> Result<S, Vec<Problem>> {
    let schema = crd::schema(S::KIND).pointer("/properties/spec").unwrap_or(&Value::Null);
    let mut problems = Vec::new();
    let Some(spec) = object.get("spec").filter(|spec| !spec.is_null()) else {
        return Err(vec![Problem::new("spec", "is required")]);
    };
    structural::check(schema, spec, "spec", &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let spec = structural::without_nulls(schema, spec);
    let old = old.and_then(|old| old.get("spec")).map(|old| structural::without_nulls(schema, old));
    // Only now: the bounds hold, and with them what a rule can cost.
    rules::check(S::KIND, &spec, old.as_ref(), "spec", &mut problems);
    // The cause may quote a value.
    let decoded = serde_json::from_value::<S>(spec).map_err(|_| {
        vec![Problem::new("spec", "cannot be read although it keeps the schema; please report this")]
    });
    match decoded {
        Ok(decoded) => {
            decoded.check_beyond_schema(&mut problems);
            if problems.is_empty() { Ok(decoded) } else { Err(problems) }
        }
        Err(_) if !problems.is_empty() => Err(problems),
        Err(unreadable) => Err(unreadable),
    }
}

#[cfg(test)]
mod tests;
