//! A provider object laid over its preset, parsed and checked as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::client_headers::{self, Origin};
use super::credentials::Credential;
use super::field::Field;
use super::header::{check_content_type, is_value};
use super::list_operation::ListOperation;
use super::operation::{Context, CreateOperation, Operation};
use super::path::UnusablePath;
use super::placeholder::Source;
use super::pointer::is_usable_id;
use super::postback::PostbackRules;
use super::preset::Preset;
use super::render::Scope;
use crate::api::{
    AdoptionPolicy, DeletionPolicy, Limits, ProviderParameter, WebhookProviderSpec, WebhookSubscriptionSpec,
};
use crate::engine::ports::{Invalid, ProviderProfile};

/// Requests a minute where nobody says otherwise.
const REQUESTS_PER_MINUTE: u32 = 60;
/// Requests at the same time where nobody says otherwise.
const MAX_CONCURRENT: u32 = 4;
/// How long a request may take where nobody says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a request may take.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// The most requests, a minute or at once, that can be asked for.
const MAX_REQUESTS: i32 = 100_000;
/// How long a provider may take to show what it did where nobody says otherwise.
const SETTLE: Duration = Duration::from_secs(5 * 60);
/// How often the listing is read where nobody says otherwise.
const VERIFY_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// More often than this, the listings of one author would take up everybody's time.
const LEAST_VERIFY_INTERVAL: Duration = Duration::from_secs(60);
/// The most parameters.
const MAX_PARAMETERS: usize = 32;

/// A provider, parsed and checked. Knows everything about its requests but how to send them.
///
/// `Debug` shows the profile only: a literal header of `auth` may be a credential.
pub struct Provider {
    pub(super) profile: ProviderProfile,
    /// Without a slash at its end.
    pub(super) base_url: String,
    /// The host alone, as `allowed-hosts` names it.
    pub(super) host: String,
    pub(super) credential: Credential,
    pub(super) list: Option<Arc<ListOperation>>,
    pub(super) create: Option<CreateOperation>,
    pub(super) update: Operation,
    pub(super) delete: Option<Operation>,
    parameters: BTreeMap<String, ProviderParameter>,
    postback: PostbackRules,
    pub(super) content_type: Option<String>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Provider").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Provider {
    /// Lays the object over its preset, parses and checks everything. Makes no call.
    ///
    /// # Errors
    /// The first rule that the object breaks.
    pub fn resolve(spec: &WebhookProviderSpec) -> Result<Self, Invalid> {
        let preset = Preset::of(spec)?;
        let preset_origin = preset.base_url.as_deref().and_then(|url| {
            let url = Url::parse(url).ok()?;
            Some(url.origin().ascii_serialization())
        });
        let preset_limits = preset.limits.clone();
        let merged = preset.overlaid_with(spec);

        let url = parse_base_url(merged.base_url.as_deref())?;
        let origin = url.origin().ascii_serialization();
        let credential = Credential::parse(&spec.auth)?;
        let parameters = parse_parameters(&merged.parameters)?;
        let content_type = merged.content_type;
        if let Some(content_type) = &content_type {
            check_content_type(content_type, &Field::new("spec.contentType"))?;
        }

        let names = parameters.keys().map(String::as_str).collect();
        let context = Context { parameters: &names, auth_headers: &credential.header_names() };
        let operations = merged.operations;
        let Some(update) = &operations.update else {
            return Err(Field::new("spec.operations.update").invalid(
                "without an operation to update no token can be brought in; write it, or name a preset",
            ));
        };
        let update = Operation::update(update, &context)?;
        let list = operations.list.as_ref();
        let list = list.map(|list| ListOperation::parse(list, &context).map(Arc::new)).transpose()?;
        let create = operations.create.as_ref();
        let create = create.map(|create| CreateOperation::parse(create, &context)).transpose()?;
        let delete = operations.delete.as_ref();
        let delete = delete.map(|delete| Operation::delete(delete, &context)).transpose()?;

        let is_preset_origin = preset_origin.as_deref() == Some(origin.as_str());
        let own = Counts::of(&merged.limits)?;
        let ceiling = if is_preset_origin { Counts::of(&preset_limits)? } else { Counts::default() };
        // An object that is older than the rule may say less, and works on.
        let verify_interval = match merged.verify_interval.as_ref().map(|interval| interval.to_std()) {
            Some(interval) if !interval.is_zero() => interval.max(LEAST_VERIFY_INTERVAL),
            asked => asked.unwrap_or(VERIFY_INTERVAL),
        };
        let settles = [
            create.as_ref().and_then(|create| create.request.settle),
            update.settle,
            delete.as_ref().and_then(|delete| delete.settle),
        ];
        let base_url = url.as_str().trim_end_matches('/').to_owned();
        let profile = ProviderProfile {
            base_url: base_url.clone(),
            requests_per_minute: narrowed(own.requests_per_minute, ceiling.requests_per_minute)
                .unwrap_or(REQUESTS_PER_MINUTE),
            preset_requests_per_minute: ceiling.requests_per_minute,
            max_concurrent: narrowed(own.max_concurrent, ceiling.max_concurrent).unwrap_or(MAX_CONCURRENT),
            timeout: own.timeout.unwrap_or(TIMEOUT),
            overlap: merged.overlap.as_ref().map_or(Duration::ZERO, |overlap| overlap.to_std()),
            verify_interval,
            settle: settles.into_iter().flatten().max().unwrap_or(SETTLE),
            can_list: list.is_some(),
            can_create: create.is_some(),
            can_delete: delete.is_some(),
            lists_actions: list.as_ref().is_none_or(|list| list.fields.action.is_some()),
            lists_urls: list.as_ref().is_none_or(|list| list.fields.postback_url.is_some()),
            origin,
        };
        Ok(Self {
            profile,
            base_url,
            host: url.host_str().unwrap_or_default().to_owned(),
            postback: PostbackRules::new(&merged.postback, &Field::new("spec.postback"))?,
            credential,
            list,
            create,
            update,
            delete,
            parameters,
            content_type,
        })
    }

    /// What the engine must know to plan calls.
    #[must_use]
    pub fn profile(&self) -> &ProviderProfile {
        &self.profile
    }

    /// Checks a subscription against the provider's rules. Makes no call.
    ///
    /// # Errors
    /// The first rule that the subscription breaks.
    pub fn check(&self, spec: &WebhookSubscriptionSpec) -> Result<(), Invalid> {
        self.postback.check(&spec.postback_url)?;
        client_headers::check(spec)?;
        if spec.webhook_id.as_deref().is_some_and(|id| !is_usable_id(id)) {
            return Err(Field::new("spec.webhookId").invalid("this can be no id"));
        }
        self.check_parameters(spec)?;
        let requests =
            [Some(&self.update), self.create.as_ref().map(|create| &create.request), self.delete.as_ref()];
        for request in requests.into_iter().flatten() {
            self.check_request(request, spec)?;
        }
        Ok(())
    }

    /// A warning about a valid subscription.
    #[must_use]
    pub fn warning(&self, spec: &WebhookSubscriptionSpec) -> Option<String> {
        let kept = spec.deletion_policy() == DeletionPolicy::Delete && self.delete.is_none();
        let kept = kept.then(|| {
            "spec.deletionPolicy: the provider has no operation to delete, so the webhook will be left behind; write \
             one, or set Orphan"
                .to_owned()
        });
        let can_find = self.list.is_some() && spec.adoption_policy == Some(AdoptionPolicy::Matching);
        let unfound = spec.webhook_id.is_none() && self.create.is_none() && !can_find;
        let unfound = unfound.then(|| {
            "spec.webhookId: the provider has no operation to create, so nothing can be done without the id of an \
             existing webhook; set it, or write the operation"
                .to_owned()
        });
        let warnings: Vec<String> =
            self.postback.warning(&spec.postback_url).into_iter().chain(kept).chain(unfound).collect();
        (!warnings.is_empty()).then(|| warnings.join("; "))
    }

    /// Whether client headers stand in a document, so that their Secrets must be read.
    pub(super) fn sends_headers(&self) -> bool {
        let of = |request: &Operation| {
            let mut sources = request.sources().into_iter();
            sources.any(|source| matches!(source, Source::Headers | Source::Header(_)))
        };
        of(&self.update) || self.create.as_ref().is_some_and(|create| of(&create.request))
    }

    fn check_parameters(&self, spec: &WebhookSubscriptionSpec) -> Result<(), Invalid> {
        let field = Field::new("spec.parameters");
        for name in spec.parameters.keys() {
            let field = field.child(name);
            if !self.parameters.contains_key(name) {
                let known: Vec<_> = self.parameters.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(field.invalid(format!("the provider has no such parameter; known are: {known}")));
            }
        }
        let mut required = self.parameters.values().filter(|known| known.required == Some(true));
        match required.find(|known| !spec.parameters.contains_key(&known.name)) {
            Some(missing) => {
                Err(field.child(&missing.name).invalid("the provider's document needs this parameter"))
            }
            None => Ok(()),
        }
    }

    /// Whether what the subscription sets can stand in the request's path and headers.
    fn check_values(&self, request: &Operation, spec: &WebhookSubscriptionSpec) -> Result<(), Invalid> {
        let scope = Scope {
            // One that the provider gives is judged when it is read.
            id: Some(spec.webhook_id.as_deref().unwrap_or("id")),
            action: spec.action.as_deref(),
            postback_url: Some(&spec.postback_url),
            active: Some(spec.is_active()),
            parameters: Some(&spec.parameters),
            ..Scope::default()
        };
        match request.path.render(&scope) {
            Ok(_) | Err(UnusablePath::Absent(_)) => {}
            Err(problem) => {
                let sources = request.path.template().sources();
                let field = match problem {
                    UnusablePath::DotSegment => culprit(spec, sources, |value| matches!(value, "." | "..")),
                    _ => culprit(spec, sources, |value| value.len() > 1024),
                };
                return Err(field.invalid(problem));
            }
        }
        for (name, template) in &request.headers {
            if !template.fits_a_header(&scope) {
                let field = culprit(spec, template.sources(), |value| !is_value(value));
                return Err(field.invalid(format!(
                    "stands in the header {name} of a request, which cannot hold line breaks or other control characters"
                )));
            }
        }
        Ok(())
    }

    /// Whether the request can be made of what the subscription sets.
    fn check_request(&self, request: &Operation, spec: &WebhookSubscriptionSpec) -> Result<(), Invalid> {
        if spec.action.is_none() && request.sources().contains(&Source::Action) {
            return Err(Field::new("spec.action").invalid("the provider's document needs an action"));
        }
        for source in request.path.template().sources() {
            if let Source::Parameter(name) = source
                && spec.parameters.get(name).is_none_or(String::is_empty)
            {
                let field = Field::new("spec.parameters").child(name);
                return Err(field.invalid("the path of a request needs this parameter"));
            }
        }
        self.check_values(request, spec)?;
        let Some(document) = &request.document else {
            return Ok(());
        };
        let headers = client_headers::effective(spec, self.content_type.as_deref());
        let is_present = |source: &Source| match source {
            Source::Parameter(name) => spec.parameters.contains_key(name),
            Source::Header(name) => headers.iter().any(|(sent, _)| sent.eq_ignore_ascii_case(name)),
            _ => true,
        };
        let carries = |header| matches!(client_headers::origin(header), Some(Origin::Token(_)));
        let is_token = |source: &Source| match source {
            Source::Token => true,
            Source::Headers => spec.client_headers.iter().any(carries),
            Source::Header(name) => client_headers::find(spec, name).is_some_and(carries),
            _ => false,
        };
        let is_written = document.sources().into_iter().any(Source::is_secret);
        if is_written && !document.holds_token(&is_present, &is_token) {
            return Err(Field::new("spec.clientHeaders").invalid(
                "the token appears in no header that is sent; give one of them valueFrom: {token: {}}",
            ));
        }
        Ok(())
    }
}

/// The field of a subscription whose value does not fit where a placeholder puts it.
fn culprit<'a>(
    spec: &WebhookSubscriptionSpec,
    sources: impl Iterator<Item = &'a Source>,
    is_bad: impl Fn(&str) -> bool,
) -> Field {
    for source in sources {
        let (value, field) = match source {
            Source::Parameter(name) => (spec.parameters.get(name), Field::new("spec.parameters").child(name)),
            Source::Action => (spec.action.as_ref(), Field::new("spec.action")),
            Source::Id => (spec.webhook_id.as_ref(), Field::new("spec.webhookId")),
            Source::PostbackUrl => (Some(&spec.postback_url), Field::new("spec.postbackUrl")),
            _ => continue,
        };
        if value.is_some_and(|value| is_bad(value)) {
            return field;
        }
    }
    Field::new("spec")
}

/// `limits` in numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests_per_minute: Option<u32>,
    max_concurrent: Option<u32>,
    timeout: Option<Duration>,
}

impl Counts {
    fn of(limits: &Limits) -> Result<Self, Invalid> {
        let field = Field::new("spec.limits");
        let count = |given: Option<i32>, name| {
            given
                .map(|given| {
                    u32::try_from(given)
                        .ok()
                        .filter(|_| (1..=MAX_REQUESTS).contains(&given))
                        .ok_or_else(|| field.child(name).invalid(format!("must be 1 to {MAX_REQUESTS}")))
                })
                .transpose()
        };
        // An object that is older than the rule may say more, and works on.
        let timeout = limits.timeout.as_ref().map(|timeout| timeout.to_std().min(MAX_TIMEOUT));
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(field.child("timeout").invalid("must be more than 0s and at most 1m"));
        }
        Ok(Self {
            requests_per_minute: count(limits.requests_per_minute, "requestsPerMinute")?,
            max_concurrent: count(limits.max_concurrent, "maxConcurrent")?,
            timeout,
        })
    }
}

fn narrowed(own: Option<u32>, ceiling: Option<u32>) -> Option<u32> {
    match (own, ceiling) {
        (Some(own), Some(ceiling)) => Some(own.min(ceiling)),
        (own, ceiling) => own.or(ceiling),
    }
}

fn parse_base_url(text: Option<&str>) -> Result<Url, Invalid> {
    let field = Field::new("spec.baseUrl");
    let Some(text) = text else {
        return Err(field.invalid(
            "without a preset the origin of the API must be given, such as https://api.example.com",
        ));
    };
    // The parser drops or rewrites these in silence.
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(field.invalid("the URL holds a blank, a control character or a backslash"));
    }
    let lower = text.to_ascii_lowercase();
    let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.starts_with('/')) else {
        return Err(field.invalid("write an absolute URL that starts with https://"));
    };
    if rest.contains(['?', '#']) {
        return Err(field
            .invalid("the URL cannot have a query or a fragment; a query belongs to each operation's path"));
    }
    if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
        return Err(field.invalid("the URL cannot hold a user name or password; use spec.auth"));
    }
    Url::parse(text)
        .ok()
        .filter(Url::has_host)
        .ok_or_else(|| field.invalid("the URL has no valid host or port"))
}

fn parse_parameters(written: &[ProviderParameter]) -> Result<BTreeMap<String, ProviderParameter>, Invalid> {
    let field = Field::new("spec.parameters");
    if written.len() > MAX_PARAMETERS {
        return Err(field.invalid(format!("there are more than {MAX_PARAMETERS} parameters")));
    }
    let mut parameters = BTreeMap::new();
    for (index, parameter) in written.iter().enumerate() {
        let field = field.item(index).child("name");
        let name = &parameter.name;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > 128 || !name.chars().all(is_plain) {
            return Err(field.invalid("a name has letters, digits, _, - and . only, at most 128"));
        }
        if parameters.insert(name.clone(), parameter.clone()).is_some() {
            return Err(field.invalid(format!("the parameter {name} is given twice")));
        }
    }
    Ok(parameters)
}
