//! A receiver's object laid over its preset, with every default in its place.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::preset::Preset;
use super::receiver::{
    Destination, Duplicates, EventName, Fallback, Forward, HandOn, Pointer, Proof, Receiver, TestEvent,
    Tokens,
};
use crate::api::validation::Problem;
use crate::api::{
    Allowance, HmacVerification, Identity, TokenVerification, Verification, WebhookReceiverSpec,
};
use crate::http::HeaderName;
use crate::store::{Extent, Owner};

const MEBIBYTE: u32 = 1024 * 1024;
const GIBIBYTE: u64 = 1024 * 1024 * 1024;
/// Largest body where nobody says otherwise, in bytes.
const MAX_BODY: u32 = MEBIBYTE;
/// What may wait, or be parked, where nobody says otherwise.
const ROOM: Extent = Extent { deliveries: 100_000, bytes: GIBIBYTE };
/// How long an event is known by its name where nobody says otherwise.
const WINDOW: Duration = Duration::from_secs(24 * 3600);
/// The same where only the body names it: another event may have the same one.
const WINDOW_OF_BODY: Duration = Duration::from_secs(10 * 60);
/// How long the application may take where nobody says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many deliveries may be under way where nobody says otherwise.
const MAX_CONCURRENT: u16 = 10;
/// How many refusals a delivery may meet where nobody says otherwise.
const MAX_ATTEMPTS: u16 = 50;
/// The first wait after a refusal where nobody says otherwise.
const INTERVAL: Duration = Duration::from_secs(5);
/// The longest wait after a refusal where nobody says otherwise.
const MAX_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// How long a delivery is tried where nobody says otherwise.
const RETENTION: Duration = Duration::from_secs(72 * 3600);
/// What is taken in each second where nobody says otherwise.
const REQUESTS_PER_SECOND: u32 = 1000;
/// Status of the answer to what was taken where the platform says nothing.
const SUCCESS: u16 = 200;
/// How long a replaced token is accepted where nobody says otherwise: what is under way with it, and what
/// the platform repeats, must still come in.
const OVERLAP: Duration = Duration::from_secs(2 * 3600);
/// How long the fallback waits for a delivery, and between two questions, where nobody says otherwise.
const ASK_AFTER: Duration = Duration::from_secs(10);
/// When the fallback gives up where nobody says otherwise.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The path of a receiver whose object names none.
#[must_use]
pub fn default_path(namespace: &str, name: &str) -> String {
    format!("/{namespace}/{name}")
}

impl Receiver {
    /// Lays the object over its preset and puts every default in its place. `spec` keeps the rules of its
    /// kind. Whether the namespace may have the path is another question.
    ///
    /// # Errors
    /// What only the object and its preset together show: no such preset, or a field that neither gives.
    pub fn of(identity: &Identity, spec: &WebhookReceiverSpec) -> Result<Self, Vec<Problem>> {
        let preset = Preset::named(spec.preset.as_deref()).map_err(|problem| vec![problem])?;
        let mut problems = Problems::default();
        let proof = proof(&spec.verification, &preset, spec.preset.as_deref(), &mut problems);
        let forward = forward(spec, &mut problems);
        let test_event = test_event(spec, &preset, &mut problems);
        let duplicates = duplicates(spec, &preset, &mut problems);
        let source_ranges = source_ranges(spec, &mut problems);
        let (Some(proof), Some(forward), Some(duplicates), []) =
            (proof, forward, duplicates, problems.0.as_slice())
        else {
            return Err(problems.0);
        };
        let key = &identity.key;
        Ok(Self {
            owner: Owner {
                namespace: Arc::clone(&key.namespace),
                name: Arc::clone(&key.name),
                uid: identity.uid.as_str().into(),
            },
            generation: identity.generation,
            created: identity.created,
            path: spec.path.clone().unwrap_or_else(|| default_path(&key.namespace, &key.name)),
            proof,
            source_ranges,
            max_body: usize::try_from(spec.max_body_bytes.unwrap_or(MAX_BODY)).unwrap_or(usize::MAX),
            max_pending: extent(spec.max_pending.as_ref()),
            max_parked: extent(spec.max_parked.as_ref()),
            hand_on: spec.hand_on.as_ref().map(|hand_on| HandOn {
                path: Pointer::parse(&hand_on.path),
                values: hand_on.values.clone(),
            }),
            test_event,
            duplicates,
            event_name: preset.event_name.as_deref().map(Pointer::parse),
            event_time: preset.event_time.as_deref().map(Pointer::parse),
            content_type: preset.content_type,
            success: preset.success.unwrap_or(SUCCESS),
            mode: spec.mode(),
            forward,
            retention: length(spec.retention.as_ref(), RETENTION),
            suspended: spec.is_suspended(),
            requests_per_second: spec
                .limits
                .as_ref()
                .and_then(|limits| limits.requests_per_second)
                .unwrap_or(REQUESTS_PER_SECOND),
            revoked_before: spec.revoked_before,
            overlap: length(preset.overlap.as_ref(), OVERLAP),
            sealed_only: preset.sealed_only,
            removed_after: preset.removed_after.as_ref().map(crate::api::Duration::to_std),
            fallback: spec.fallback.as_ref().map(|given| Arc::new(fallback(given))),
        })
    }
}

impl Pointer {
    /// Takes a JSON Pointer (RFC 6901) apart. The empty one is the whole document.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        // In this order, or `~01` would become `/` (RFC 6901, section 4).
        Self(text.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    /// `None`, with a problem noted.
    fn note<T>(&mut self, field: &str, problem: impl Into<String>) -> Option<T> {
        self.0.push(Problem::new(field, problem));
        None
    }

    fn header(&mut self, field: &str, name: &str) -> Option<HeaderName> {
        HeaderName::from_bytes(name.as_bytes()).ok().or_else(|| {
            self.note(field, "must be a header name: letters, digits and `-`, without blanks or colons")
        })
    }
}

fn length(given: Option<&crate::api::Duration>, otherwise: Duration) -> Duration {
    given.map_or(otherwise, crate::api::Duration::to_std)
}

fn extent(given: Option<&Allowance>) -> Extent {
    let given = given.copied().unwrap_or_default();
    Extent {
        deliveries: given.deliveries.map_or(ROOM.deliveries, u64::from),
        bytes: given.bytes.unwrap_or(ROOM.bytes),
    }
}

fn source_ranges(spec: &WebhookReceiverSpec, problems: &mut Problems) -> Vec<IpNet> {
    let ranges = spec.source_ranges.iter().enumerate();
    ranges
        .filter_map(|(index, range)| {
            let parsed = range.parse().ok();
            parsed.or_else(|| {
                problems
                    .note(&format!("spec.sourceRanges[{index}]"), "must be a network such as 203.0.113.0/24")
            })
        })
        .collect()
}

fn proof(
    verification: &Verification,
    preset: &Preset,
    preset_name: Option<&str>,
    problems: &mut Problems,
) -> Option<Proof> {
    let Verification { token, api_key, basic, hmac, standard_webhooks, none } = verification;
    if let Some(token) = token {
        self::token(token, preset, problems)
    } else if let Some(api_key) = api_key {
        let header = match &api_key.header {
            Some(name) => Some(problems.header("spec.verification.apiKey.header", name)?),
            None => None,
        };
        Some(Proof::ApiKey { header, secrets: api_key.secret_key_refs.clone() })
    } else if let Some(basic) = basic {
        Some(Proof::Basic { secrets: basic.secret_key_refs.clone() })
    } else if let Some(hmac) = hmac {
        self::hmac(hmac, preset, preset_name, problems)
    } else if let Some(standard) = standard_webhooks {
        Some(Proof::StandardWebhooks { secrets: standard.secret_key_refs.clone() })
    } else if none.is_some() {
        Some(Proof::None)
    } else {
        // The schema asks for one; whoever gets here without it must not be let in.
        problems.note("spec.verification", "names no way to verify a delivery")
    }
}

fn token(given: &TokenVerification, preset: &Preset, problems: &mut Problems) -> Option<Proof> {
    const FIELD: &str = "spec.verification.token.header";
    let Some(name) = given.header.as_ref().or(preset.token.header.as_ref()) else {
        return problems.note(
            FIELD,
            "is required: name the header in which the platform sends the token, as the subscription's clientHeaders \
             do, or let the subscription name this receiver with receiverRef",
        );
    };
    let prefix = match &given.header {
        // What the preset says of its own header says nothing of another one.
        Some(_) => given.prefix.clone(),
        None => given.prefix.clone().or_else(|| preset.token.prefix.clone()),
    };
    let tokens = match &given.token_source_ref {
        Some(source) => Tokens::Source(source.name.clone()),
        None => Tokens::Secrets(given.secret_key_refs.clone()),
    };
    Some(Proof::Token { header: problems.header(FIELD, name)?, prefix: prefix.unwrap_or_default(), tokens })
}

fn hmac(
    given: &HmacVerification,
    preset: &Preset,
    preset_name: Option<&str>,
    problems: &mut Problems,
) -> Option<Proof> {
    const FIELD: &str = "spec.verification.hmac.header";
    let Some(name) = given.header.as_ref().or(preset.hmac.header.as_ref()) else {
        let who = preset_name.map_or_else(String::new, |name| format!(", and the preset {name} names none"));
        return problems.note(
            FIELD,
            format!("is required: name the header in which the platform sends the signature{who}"),
        );
    };
    Some(Proof::Hmac {
        header: problems.header(FIELD, name)?,
        algorithm: given.algorithm.or(preset.hmac.algorithm).unwrap_or_default(),
        encoding: given.encoding.or(preset.hmac.encoding).unwrap_or_default(),
        prefix: given.prefix.clone().or_else(|| preset.hmac.prefix.clone()).unwrap_or_default(),
        secrets: given.secret_key_refs.clone(),
    })
}

fn test_event(spec: &WebhookReceiverSpec, preset: &Preset, problems: &mut Problems) -> Option<TestEvent> {
    let own = spec.test_event.as_ref();
    let of_preset = preset.test_event.as_ref();
    if own.is_none() && of_preset.is_none() {
        return None;
    }
    let own_name = own.and_then(|event| Some((event.path.as_ref()?, event.equals.as_ref()?)));
    let name =
        own_name.or_else(|| of_preset.and_then(|event| Some((event.path.as_ref()?, event.equals.as_ref()?))));
    let Some((path, equals)) = name else {
        return problems.note(
            "spec.testEvent",
            "needs path and equals: there is no preset that says how the platform's test event is known",
        );
    };
    let action = own.and_then(|event| event.action).or_else(|| of_preset.and_then(|event| event.action));
    Some(TestEvent { path: Pointer::parse(path), equals: equals.clone(), action: action.unwrap_or_default() })
}

fn duplicates(spec: &WebhookReceiverSpec, preset: &Preset, problems: &mut Problems) -> Option<Duplicates> {
    let own = spec.duplicates.clone().unwrap_or_default();
    let names_event =
        |duplicates: &crate::api::Duplicates| !duplicates.key.is_empty() || duplicates.header.is_some();
    // A preset drops what its own key names, and nothing else.
    let (named, action) = if names_event(&own) {
        (&own, own.action)
    } else {
        (&preset.duplicates, own.action.or(preset.duplicates.action))
    };
    let key = match &named.header {
        Some(name) => EventName::Header(problems.header("spec.duplicates.header", name)?),
        None if named.key.is_empty() => EventName::Body,
        None => EventName::Parts(named.key.iter().map(|part| Pointer::parse(part)).collect()),
    };
    let otherwise = if key == EventName::Body { WINDOW_OF_BODY } else { WINDOW };
    let window = own.window.as_ref().or(preset.duplicates.window.as_ref());
    Some(Duplicates { window: length(window, otherwise), action: action.unwrap_or_default(), key })
}

fn forward(spec: &WebhookReceiverSpec, problems: &mut Problems) -> Option<Forward> {
    let given = &spec.forward;
    let to = match (&given.service, &given.url) {
        (Some(service), _) => Destination::Service {
            name: service.name.clone(),
            port: service.port,
            path: service.path.clone().unwrap_or_else(|| "/".to_owned()),
        },
        (None, Some(url)) => match url.parse() {
            Ok(url) => Destination::Url(url),
            Err(_) => return problems.note("spec.forward.url", "must be an absolute http or https URL"),
        },
        (None, None) => return problems.note("spec.forward", "give exactly one of service and url"),
    };
    let retry = given.retry.clone().unwrap_or_default();
    // Where one of the two is given, the default of the other does not contradict it.
    let (interval, max_interval) = match (&retry.interval, &retry.max_interval) {
        (Some(interval), Some(most)) => (interval.to_std(), most.to_std()),
        (Some(interval), None) => (interval.to_std(), MAX_INTERVAL.max(interval.to_std())),
        (None, Some(most)) => (INTERVAL.min(most.to_std()), most.to_std()),
        (None, None) => (INTERVAL, MAX_INTERVAL),
    };
    Some(Forward {
        to,
        timeout: length(given.timeout.as_ref(), TIMEOUT),
        max_concurrent: usize::from(given.max_concurrent.unwrap_or(MAX_CONCURRENT)),
        max_attempts: u32::from(retry.max_attempts.unwrap_or(MAX_ATTEMPTS)),
        interval,
        max_interval,
    })
}

fn fallback(given: &crate::api::Fallback) -> Fallback {
    let fields = given.fields.clone().unwrap_or_default();
    let pointer =
        |field: Option<String>, otherwise: &str| Pointer::parse(field.as_deref().unwrap_or(otherwise));
    Fallback {
        secrets: given.secret_key_refs.clone(),
        after: length(given.after.as_ref(), ASK_AFTER),
        every: length(given.every.as_ref(), ASK_AFTER),
        give_up_after: length(given.give_up_after.as_ref(), GIVE_UP_AFTER),
        request: given.request.clone(),
        id: pointer(fields.id, "/id"),
        status: pointer(fields.status, "/status"),
        until: given.until.clone(),
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
