//! Rules that neither a structural schema nor a CEL rule within its budget can hold.

use std::collections::BTreeMap;

use serde_json::Value;
use url::Url;

use super::Problem;
use super::structural::readable;
use crate::api::{
    ClientHeader, HttpTokenSource, NamedValue, OAuth2TokenSource, Operation, TokenSourceSpec,
    UNSETTABLE_HEADER_MESSAGE, WebhookProviderSpec, WebhookSubscriptionSpec, is_settable, schema,
};

/// Largest JSON document of an operation, in bytes as compact JSON.
const LARGEST_DOCUMENT: usize = 64 * 1024;
/// Deepest nesting of an operation's JSON document.
const DEEPEST_DOCUMENT: usize = 32;

pub(super) fn subscription(spec: &WebhookSubscriptionSpec, problems: &mut Vec<Problem>) {
    url("spec.postbackUrl", &spec.postback_url, problems);
    for (index, header) in spec.client_headers.iter().enumerate() {
        client_header(&format!("spec.clientHeaders[{index}]"), header, problems);
    }
    // An empty name is refused by the rule of the schema.
    for name in spec.parameters.keys().filter(|name| !name.is_empty()) {
        if !matches(name, |first| first.is_ascii_alphabetic(), is_parameter_character) {
            problems.push(Problem::new(
                format!("spec.parameters.{}", readable(name)),
                "the name must be a letter followed by letters, digits, `_` and `-`",
            ));
        }
    }
    if let Some(source) = &spec.token_source {
        oauth2("spec.tokenSource", source.oauth2.as_ref(), problems);
        http("spec.tokenSource", source.http.as_ref(), problems);
    }
}

pub(super) fn token_source(spec: &TokenSourceSpec, problems: &mut Vec<Problem>) {
    oauth2("spec", spec.oauth2.as_ref(), problems);
    http("spec", spec.http.as_ref(), problems);
}

pub(super) fn provider(spec: &WebhookProviderSpec, problems: &mut Vec<Problem>) {
    if let Some(base_url) = &spec.base_url {
        url("spec.baseUrl", base_url, problems);
    }
    named_headers("spec.auth.headers", &spec.auth.headers, problems);
    if let Some(operations) = &spec.operations {
        for (name, operation) in [
            ("list", &operations.list),
            ("create", &operations.create),
            ("update", &operations.update),
            ("delete", &operations.delete),
        ] {
            if let Some(given) = operation {
                self::operation(&format!("spec.operations.{name}"), given, problems);
            }
        }
    }
}

fn client_header(path: &str, header: &ClientHeader, problems: &mut Vec<Problem>) {
    if let Some(value) = &header.value {
        header_value(&format!("{path}.value"), value, problems);
        template(&format!("{path}.value"), value, problems);
    }
    let token = header.value_from.as_ref().and_then(|source| source.token.as_ref());
    if let Some(prefix) = token.and_then(|token| token.prefix.as_ref()) {
        header_value(&format!("{path}.valueFrom.token.prefix"), prefix, problems);
        template(&format!("{path}.valueFrom.token.prefix"), prefix, problems);
    }
    if let Some(prefix) = header.value_from.as_ref().and_then(|source| source.prefix.as_ref()) {
        header_value(&format!("{path}.valueFrom.prefix"), prefix, problems);
        template(&format!("{path}.valueFrom.prefix"), prefix, problems);
    }
}

/// A template that nobody has filled in would be sent as it is.
fn template(path: &str, value: &str, problems: &mut Vec<Problem>) {
    if value.contains("{{") {
        problems.push(Problem::new(
            path,
            "holds `{{`, but templates are not filled in here; for the token write \
             `valueFrom: {token: {prefix: \"Bearer \"}}` in place of `value`; for what the platform fills in, \
             put the whole value into a Secret and write `valueFrom: {secretKeyRef: {name: …, key: …}}`",
        ));
    }
}

/// Control characters cannot be sent in a header (RFC 9110, section 5.5).
pub(super) fn header_value(path: &str, value: &str, problems: &mut Vec<Problem>) {
    if value.chars().any(|character| character.is_control() && character != '\t') {
        problems.push(Problem::new(path, "must hold no control characters"));
    }
}

pub(super) fn named_headers(path: &str, headers: &[NamedValue], problems: &mut Vec<Problem>) {
    for (index, header) in headers.iter().enumerate() {
        if !is_settable(&header.name) {
            problems.push(Problem::new(format!("{path}[{index}].name"), UNSETTABLE_HEADER_MESSAGE));
        }
        // What breaks the line is refused by the rule of the schema.
        if let Some(value) = header.value.as_deref().filter(|value| is_one_line(value)) {
            header_value(&format!("{path}[{index}].value"), value, problems);
        }
        let prefix = header.value_from.as_ref().and_then(|from| from.prefix.as_deref());
        if let Some(prefix) = prefix.filter(|prefix| is_one_line(prefix)) {
            header_value(&format!("{path}[{index}].valueFrom.prefix"), prefix, problems);
        }
    }
}

fn is_one_line(value: &str) -> bool {
    !value.contains(['\r', '\n', '\0'])
}

fn oauth2(path: &str, source: Option<&OAuth2TokenSource>, problems: &mut Vec<Problem>) {
    if let Some(source) = source {
        url(&format!("{path}.oauth2.tokenUrl"), &source.token_url, problems);
        for name in source.extra_parameters.keys() {
            if let Some(problem) = source.why_not_extra(name) {
                let field = format!("{path}.oauth2.extraParameters.{}", readable(name));
                problems.push(Problem::new(field, problem));
            }
        }
    }
}

fn http(path: &str, source: Option<&HttpTokenSource>, problems: &mut Vec<Problem>) {
    if let Some(source) = source {
        url(&format!("{path}.http.url"), &source.url, problems);
        named_headers(&format!("{path}.http.headers"), &source.headers, problems);
    }
}

fn operation(path: &str, operation: &Operation, problems: &mut Vec<Problem>) {
    header_map(&format!("{path}.headers"), &operation.headers, problems);
    let Some(document) = &operation.json else {
        return;
    };
    let path = format!("{path}.json");
    if !document.is_object() && !document.is_array() {
        problems.push(Problem::new(path, "must be a mapping or a list"));
    } else if !is_shallow(document, DEEPEST_DOCUMENT) {
        problems
            .push(Problem::new(path, format!("must not be nested deeper than {DEEPEST_DOCUMENT} levels")));
    } else if document.to_string().len() > LARGEST_DOCUMENT {
        problems.push(Problem::new(path, format!("must have at most {LARGEST_DOCUMENT} bytes as JSON")));
    }
}

fn header_map(path: &str, headers: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    for (name, value) in headers {
        let path = format!("{path}.{}", readable(name));
        if !matches(name, is_token_character, is_token_character) {
            problems.push(Problem::new(path, "the name must be a header name without blanks and colons"));
        } else if !is_settable(name) {
            problems.push(Problem::new(path, UNSETTABLE_HEADER_MESSAGE));
        } else {
            header_value(&path, value, problems);
        }
    }
}

/// What the rule in the schema lets pass and a URL parser does not, or reads in another way than
/// people do.
pub(super) fn url(path: &str, value: &str, problems: &mut Vec<Problem>) {
    let strange = value.chars().any(|character| character.is_control() || character == '\\');
    if strange || !has_whole_escapes(value) || !Url::parse(value).is_ok_and(|url| has_whole_host(&url)) {
        let problem = Problem::new(path, schema::URL_MESSAGE);
        // A value that breaks the rule of the schema is reported already.
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
}

/// Whether every `%` begins an escape (RFC 3986, section 2.1) and none stands in the host: servers refuse
/// others.
fn has_whole_escapes(value: &str) -> bool {
    let after_scheme = value.split_once("//").map_or(value, |(_, after)| after);
    let host = after_scheme.split(['/', '?']).next().unwrap_or_default();
    !host.contains('%')
        && value.split('%').skip(1).all(|after| {
            let digits = after.as_bytes();
            digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
        })
}

/// Whether a name in the URL has no empty label but a last one: no connection is opened to others.
fn has_whole_host(url: &Url) -> bool {
    let name = url.domain().map(|name| name.strip_suffix('.').unwrap_or(name));
    name.is_none_or(|name| !name.split('.').any(str::is_empty))
}

fn is_shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Object(members) => levels > 0 && members.values().all(|member| is_shallow(member, levels - 1)),
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_shallow(item, levels - 1)),
        _ => true,
    }
}

fn matches(text: &str, first: impl Fn(char) -> bool, rest: impl Fn(char) -> bool) -> bool {
    text.chars().next().is_some_and(first) && text.chars().skip(1).all(rest)
}

fn is_parameter_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '-'
}

fn is_token_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}
