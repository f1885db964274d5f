//! Built-in descriptions of providers, and how a provider object is laid over one.

use serde::Deserialize;

use super::field::Field;
use crate::api::{Duration, Limits, Operations, Postback, ProviderParameter, WebhookProviderSpec};
use crate::engine::ports::Invalid;

/// Names and texts of the built-in descriptions, sorted by name.
const PRESETS: &[(&str, &str)] = &[("gupy", include_str!("presets/gupy.yaml"))];

/// The names of the built-in descriptions, sorted.
pub fn presets() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// What a provider object may leave to its preset.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Preset {
    pub(super) base_url: Option<String>,
    pub(super) operations: Operations,
    pub(super) parameters: Vec<ProviderParameter>,
    pub(super) postback: Postback,
    pub(super) content_type: Option<String>,
    pub(super) limits: Limits,
    pub(super) overlap: Option<Duration>,
    pub(super) verify_interval: Option<Duration>,
}

impl Preset {
    /// The built-in description that the object names; an empty one when it names none.
    ///
    /// # Errors
    /// No such description.
    pub(super) fn of(spec: &WebhookProviderSpec) -> Result<Self, Invalid> {
        let field = Field::new("spec.preset");
        let Some(wanted) = &spec.preset else {
            return Ok(Self::default());
        };
        let Some((_, text)) = PRESETS.iter().find(|(name, _)| name == wanted) else {
            let known: Vec<_> = presets().collect();
            let wanted: String = wanted.chars().take(64).collect();
            return Err(
                field.invalid(format!("there is no preset {wanted:?}; known are: {}", known.join(", ")))
            );
        };
        serde_saphyr::from_str(text)
            .map_err(|_| field.invalid("the preset cannot be read; please report this"))
    }

    /// The description with everything in its place that the object sets itself. Operations are
    /// merged whole, never inside.
    pub(super) fn overlaid_with(self, spec: &WebhookProviderSpec) -> Self {
        let own = spec.operations.clone().unwrap_or_default();
        let postback = spec.postback.clone().unwrap_or_default();
        let limits = spec.limits.clone().unwrap_or_default();
        Self {
            base_url: spec.base_url.clone().or(self.base_url),
            operations: Operations {
                list: own.list.or(self.operations.list),
                create: own.create.or(self.operations.create),
                update: own.update.or(self.operations.update),
                delete: own.delete.or(self.operations.delete),
            },
            parameters: spec.parameters.clone().unwrap_or(self.parameters),
            postback: Postback {
                allow_http: postback.allow_http.or(self.postback.allow_http),
                public_host: postback.public_host.or(self.postback.public_host),
                warn_hosts: postback.warn_hosts.or(self.postback.warn_hosts),
            },
            content_type: spec.content_type.clone().or(self.content_type),
            limits: Limits {
                requests_per_minute: limits.requests_per_minute.or(self.limits.requests_per_minute),
                max_concurrent: limits.max_concurrent.or(self.limits.max_concurrent),
                timeout: limits.timeout.or(self.limits.timeout),
            },
            overlap: spec.overlap.clone().or(self.overlap),
            verify_interval: spec.verify_interval.clone().or(self.verify_interval),
        }
    }
}
