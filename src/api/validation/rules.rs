//! The CEL rules of the schema, evaluated in process.

use std::cell::OnceCell;

use kube::core::cel::{CompiledSchema, ErrorKind, compile_schema, validate_compiled};
use serde_json::Value;

use super::Problem;
use crate::api::{Kind, crd};

/// Rules of the four kinds, compiled once for each thread: the evaluator is not shared either.
#[derive(Default)]
struct Compiled {
    provider: OnceCell<CompiledSchema>,
    source: OnceCell<CompiledSchema>,
    subscription: OnceCell<CompiledSchema>,
    receiver: OnceCell<CompiledSchema>,
}

thread_local! {
    static COMPILED: Compiled = Compiled::default();
}

/// Evaluates the rules on a spec that keeps the rest of the schema.
pub(super) fn check(kind: Kind, spec: &Value, old: Option<&Value>, path: &str, problems: &mut Vec<Problem>) {
    let result = COMPILED.with(|compiled| {
        let cell = match kind {
            Kind::WebhookProvider => &compiled.provider,
            Kind::TokenSource => &compiled.source,
            Kind::WebhookSubscription => &compiled.subscription,
            Kind::WebhookReceiver => &compiled.receiver,
        };
        let schema = cell.get_or_init(|| {
            let schema = crd::schema(kind).pointer("/properties/spec");
            compile_schema(schema.unwrap_or(&Value::Null))
        });
        validate_compiled(schema, spec, old)
    });
    for failure in result.err().into_iter().flatten() {
        let field = match failure.field_path.as_str() {
            "" => path.to_owned(),
            below => format!("{path}.{below}"),
        };
        let problem = if failure.kind == ErrorKind::ValidationFailure {
            failure.message
        } else {
            // The evaluator's own text may quote the value.
            format!("the rule `{}` cannot be evaluated", failure.rule)
        };
        problems.push(Problem::new(field, problem));
    }
}
