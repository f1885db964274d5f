//! Receivers of the four platforms, and what they are proven with.

use std::time::Duration;

use super::super::{Authentication, IdUnico, Platform, Pulpo, QualP};
use super::super::{
    TRIAL_IDUNICO_API_KEY, TRIAL_IDUNICO_CREDENTIALS, TRIAL_PULPO_TOKEN, TRIAL_QUALP_ACCESS_TOKEN,
    TRIAL_QUALP_SECRET, TRIAL_QUALP_TAX_ID,
};
use super::{SandboxInfo, quoted};

/// The three platforms besides Gupy, with credentials that everybody knows, each with its name.
#[must_use]
pub fn trial_platforms() -> Vec<(String, Platform)> {
    let platforms = [
        Platform::IdUnico(IdUnico {
            authentication: Authentication::Basic(TRIAL_IDUNICO_CREDENTIALS.into()),
            attempts: 6,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            api_key: TRIAL_IDUNICO_API_KEY.into(),
        }),
        Platform::Pulpo(Pulpo { token: TRIAL_PULPO_TOKEN.into(), sample_is_handed_on: false }),
        Platform::QualP(QualP {
            secret: TRIAL_QUALP_SECRET.into(),
            access_token: TRIAL_QUALP_ACCESS_TOKEN.into(),
            tax_id: TRIAL_QUALP_TAX_ID.into(),
        }),
    ];
    platforms.into_iter().map(|platform| (platform.name().to_owned(), platform)).collect()
}

/// The key of a platform's Secret and its value; `None` where nothing is proven.
fn credential(platform: &Platform) -> Option<(&'static str, &str)> {
    match platform {
        Platform::IdUnico(settings) => match &settings.authentication {
            Authentication::Basic(text) | Authentication::ApiKey(text) => {
                Some(("credentials", text.expose()))
            }
            Authentication::None => None,
        },
        Platform::Pulpo(settings) => Some(("token", settings.token.expose())),
        Platform::QualP(settings) => Some(("secret", settings.secret.expose())),
    }
}

fn verification(name: &str, platform: &Platform) -> String {
    let Some((key, _)) = credential(platform) else {
        return "none: {}".to_owned();
    };
    let means = match platform {
        Platform::IdUnico(settings) => match settings.authentication {
            Authentication::ApiKey(_) => "apiKey",
            _ => "basic",
        },
        Platform::Pulpo(_) => "token",
        Platform::QualP(_) => "hmac",
    };
    format!("{means}: {{secretKeyRefs: [{{name: {name}-webhook, key: {key}}}]}}")
}

pub(super) fn secrets(info: &SandboxInfo) -> String {
    let secret = |(name, platform): &(String, Platform)| {
        let (key, value) = credential(platform)?;
        let value = quoted(value);
        Some(format!(
            r"apiVersion: v1
kind: Secret
metadata: {{name: {name}-webhook}}
stringData:
  {key}: {value}
"
        ))
    };
    let documents: Vec<String> = info.platforms.iter().filter_map(secret).collect();
    format!("# Trial credentials: they open this sandbox and nothing else.\n{}", documents.join("---\n"))
}

pub(super) fn receivers(info: &SandboxInfo) -> String {
    // The subscriptions carry the token in this header.
    let gupy = "token: {header: token, tokenSourceRef: {name: integration}}".to_owned();
    let mut documents = vec![receiver(info, "gupy", "gupy", &gupy)];
    for (name, platform) in &info.platforms {
        documents.push(receiver(info, name, platform.name(), &verification(name, platform)));
    }
    documents.join("---\n")
}

fn receiver(info: &SandboxInfo, name: &str, preset: &str, verification: &str) -> String {
    let url = quoted(&format!("{}/application/{name}", info.url));
    format!(
        r"apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {{name: {name}}}
spec:
  preset: {preset}
  verification:
    {verification}
  forward:
    url: {url}
"
    )
}
