//! Receivers of the four platforms, and what they are proven with.

use std::time::Duration;

use super::super::{Authentication, IdUnico, Platform, Pulpo, QualP};
use super::super::{
    TRIAL_EXPECT_KEY, TRIAL_IDUNICO_API_KEY, TRIAL_IDUNICO_CREDENTIALS, TRIAL_PULPO_TOKEN,
    TRIAL_QUALP_ACCESS_TOKEN, TRIAL_QUALP_SECRET, TRIAL_QUALP_TAX_ID,
};
use super::info::{SandboxInfo, quoted};

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

/// Secrets of a platform: a name, a key, a value.
fn credentials<'a>(name: &str, platform: &'a Platform) -> Vec<(String, &'static str, &'a str)> {
    let mut all = Vec::new();
    if let Some((key, value)) = credential(platform) {
        all.push((format!("{name}-webhook"), key, value));
    }
    if let Platform::IdUnico(settings) = platform {
        all.push((format!("{name}-api"), "api-key", settings.api_key.expose()));
        all.push((format!("{name}-expect"), "key", TRIAL_EXPECT_KEY));
    }
    all
}

pub(super) fn secrets(info: &SandboxInfo) -> String {
    let secret = |(name, key, value): (String, &str, &str)| {
        let value = quoted(value);
        format!(
            r"apiVersion: v1
kind: Secret
metadata: {{name: {name}}}
stringData:
  {key}: {value}
"
        )
    };
    let all = info.platforms.iter().flat_map(|(name, platform)| credentials(name, platform));
    let documents: Vec<String> = all.map(secret).collect();
    format!("# Trial credentials: they open this sandbox and nothing else.\n{}", documents.join("---\n"))
}

pub(super) fn receivers(info: &SandboxInfo) -> String {
    // The subscriptions carry the token in this header.
    let gupy = "token: {header: token, tokenSourceRef: {name: integration}}".to_owned();
    let mut documents = vec![receiver(info, "gupy", "gupy", &gupy, "")];
    for (name, platform) in &info.platforms {
        let verification = verification(name, platform);
        documents.push(receiver(info, name, platform.name(), &verification, &more(info, name, platform)));
    }
    documents.join("---\n")
}

/// What a platform's receiver has besides.
fn more(info: &SandboxInfo, name: &str, platform: &Platform) -> String {
    let Platform::IdUnico(_) = platform else {
        return String::new();
    };
    let url = quoted(&format!("{}/processes/v1/{{id}}", info.url));
    format!(
        r#"  # 1 is a process that has no outcome yet.
  handOn: {{path: /status, values: ["2", "3", "4", "5"]}}
  # What the application waits for, and no delivery comes for, is asked for.
  fallback:
    secretKeyRefs: [{{name: {name}-expect, key: key}}]
    request:
      url: {url}
      headers:
        - {{name: APIKEY, valueFrom: {{secretKeyRef: {{name: {name}-api, key: api-key}}}}}}
      tokenSourceRef: {{name: integration}}
    until: ["3", "4", "5"]
"#
    )
}

fn receiver(info: &SandboxInfo, name: &str, preset: &str, verification: &str, more: &str) -> String {
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
{more}"
    )
}
