//! Built-in descriptions of what platforms deliver.

use serde::Deserialize;

use crate::api::validation::Problem;
use crate::api::{Duplicates, Duration, HmacAlgorithm, HmacEncoding, TestEvent};

/// Names and texts of the built-in descriptions, sorted by name.
const PRESETS: &[(&str, &str)] = &[
    ("gupy", include_str!("presets/gupy.yaml")),
    ("idunico", include_str!("presets/idunico.yaml")),
    ("pulpo", include_str!("presets/pulpo.yaml")),
    ("qualp", include_str!("presets/qualp.yaml")),
    ("standardWebhooks", include_str!("presets/standardwebhooks.yaml")),
];

/// The names of the built-in descriptions, sorted.
pub fn presets() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// What a receiver may leave to its preset.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Preset {
    /// Where a token stands.
    pub(super) token: Token,
    /// Where and how an HMAC is written.
    pub(super) hmac: Hmac,
    /// Where in the body the event's name stands: a JSON Pointer.
    pub(super) event_name: Option<String>,
    /// Where in the body the event's date stands: a JSON Pointer.
    pub(super) event_time: Option<String>,
    /// How the platform's test event is known.
    pub(super) test_event: Option<TestEvent>,
    /// How a repeated delivery is known.
    pub(super) duplicates: Duplicates,
    /// Content-Type of deliveries that bring none.
    pub(super) content_type: Option<String>,
    /// Status of the answer that the platform takes for success.
    pub(super) success: Option<u16>,
    /// How long the platform may go on sending a token that was replaced.
    pub(super) overlap: Option<Duration>,
    /// After how long of nothing but errors the platform removes the webhook.
    pub(super) removed_after: Option<Duration>,
    /// Whether bodies hold what must not lie on a disk in clear.
    pub(super) sealed_only: bool,
}

/// Where a token stands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Token {
    pub(super) header: Option<String>,
    pub(super) prefix: Option<String>,
}

/// Where and how an HMAC is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Hmac {
    pub(super) header: Option<String>,
    pub(super) algorithm: Option<HmacAlgorithm>,
    pub(super) encoding: Option<HmacEncoding>,
    pub(super) prefix: Option<String>,
}

impl Preset {
    /// The built-in description of this name; an empty one when an object names none.
    ///
    /// # Errors
    /// There is none of this name.
    pub(super) fn named(wanted: Option<&str>) -> Result<Self, Problem> {
        let Some(wanted) = wanted else {
            return Ok(Self::default());
        };
        let Some((_, text)) = PRESETS.iter().find(|(name, _)| *name == wanted) else {
            let known: Vec<_> = presets().collect();
            let wanted: String = wanted.chars().take(64).collect();
            return Err(Problem::new(
                "spec.preset",
                format!("there is no preset {wanted:?}; known are: {}", known.join(", ")),
            ));
        };
        serde_saphyr::from_str(text)
            .map_err(|_| Problem::new("spec.preset", "the preset cannot be read; please report this"))
    }
}
