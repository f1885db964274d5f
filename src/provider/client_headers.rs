//! The headers that the provider is to send with every delivery: `spec.clientHeaders`.

use std::collections::BTreeSet;

use super::field::Field;
use super::header::{check_text, is_value, parse_name};
use super::secrets::SecretReader;
use crate::api::{ClientHeader, SecretKeyReference, WebhookSubscriptionSpec};
use crate::engine::ports::{Invalid, Refusal};
use crate::http::prefixed;
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// The name of the header that a provider's `contentType` fills in.
const CONTENT_TYPE: &str = "Content-Type";

/// Where a header's value comes from, checked.
pub(super) enum Origin<'a> {
    Written(&'a str),
    /// A Secret's value, after a prefix.
    Secret(&'a SecretKeyReference, &'a str),
    /// The token, after a prefix.
    Token(&'a str),
}

/// Where the header's value comes from; `None` unless exactly one place is given.
pub(super) fn origin(header: &ClientHeader) -> Option<Origin<'_>> {
    let from = header.value_from.as_ref();
    let secret = from.and_then(|from| from.secret_key_ref.as_ref());
    let token = from.and_then(|from| from.token.as_ref());
    let prefix = from.and_then(|from| from.prefix.as_deref());
    match (&header.value, from, secret, token) {
        (Some(value), None, ..) => Some(Origin::Written(value)),
        (None, Some(_), Some(reference), None) => Some(Origin::Secret(reference, prefix.unwrap_or_default())),
        (None, Some(_), None, Some(token)) if prefix.is_none() => {
            Some(Origin::Token(token.prefix.as_deref().unwrap_or_default()))
        }
        _ => None,
    }
}

/// The header of that name, in whatever case.
pub(super) fn find<'a>(spec: &'a WebhookSubscriptionSpec, name: &str) -> Option<&'a ClientHeader> {
    let mut headers = spec.client_headers.iter();
    headers.find(|header| header.name.eq_ignore_ascii_case(name))
}

/// The headers to send, in an order that does not depend on how they are written, and the content
/// type to add where there is none.
pub(super) fn effective<'a>(
    spec: &'a WebhookSubscriptionSpec,
    content_type: Option<&'a str>,
) -> Vec<(&'a str, Option<Origin<'a>>)> {
    let mut headers: Vec<_> =
        spec.client_headers.iter().map(|header| (header.name.as_str(), origin(header))).collect();
    if let Some(content_type) = content_type
        && find(spec, CONTENT_TYPE).is_none()
    {
        headers.push((CONTENT_TYPE, Some(Origin::Written(content_type))));
    }
    headers.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    headers
}

/// Checks the headers.
///
/// # Errors
/// The first rule that one of them breaks.
pub(super) fn check(spec: &WebhookSubscriptionSpec) -> Result<(), Invalid> {
    let mut names = BTreeSet::new();
    for (index, header) in spec.client_headers.iter().enumerate() {
        let field = Field::new("spec.clientHeaders").item(index);
        if parse_name(&header.name).is_none() {
            return Err(field
                .child("name")
                .invalid("the name of a header has letters, digits and !#$%&'*+-.^_`|~ only, at most 128"));
        }
        if !names.insert(header.name.to_ascii_lowercase()) {
            return Err(field
                .child("name")
                .invalid(format!("the header {} is given twice; case makes no difference", header.name)));
        }
        match origin(header) {
            Some(Origin::Written(value)) => check_written(value, &field.child("value"))?,
            Some(Origin::Token(prefix)) => {
                let field = field.child("valueFrom").child("token").child("prefix");
                check_written(prefix, &field)?;
            }
            Some(Origin::Secret(_, prefix)) => {
                check_written(prefix, &field.child("valueFrom").child("prefix"))?;
            }
            None => {
                return Err(
                    field.invalid("set exactly one of value, valueFrom.secretKeyRef and valueFrom.token; valueFrom.prefix goes with secretKeyRef")
                );
            }
        }
    }
    Ok(())
}

fn check_written(text: &str, field: &Field) -> Result<(), Invalid> {
    if text.contains("{{") {
        return Err(field.invalid(
            "the value holds {{, so it looks like a template that nothing has filled in; for the token use valueFrom.token, and for what the platform fills in put the whole value into a Secret and use valueFrom.secretKeyRef",
        ));
    }
    check_text(text, field)
}

/// Resolved headers, and the identity of each Secret among them.
pub(super) struct Resolved {
    /// Names and values, ordered by name without regard to case.
    pub(super) headers: Vec<(String, SecretText)>,
    /// Name, key and version of each Secret.
    pub(super) secrets: Vec<[String; 3]>,
    /// Where their values may go.
    pub(super) bounds: Bounds,
}

/// Reads the Secrets and puts the token in.
///
/// # Errors
/// A Secret that cannot be read, or a value that cannot stand in a header. The value is not in the
/// error.
pub(super) async fn resolve(
    spec: &WebhookSubscriptionSpec,
    content_type: Option<&str>,
    token: &SecretText,
    mut reader: SecretReader<'_>,
) -> Result<Resolved, Refusal> {
    let mut headers = Vec::new();
    let mut secrets = Vec::new();
    for (name, origin) in effective(spec, content_type) {
        let unusable = |why: &str| Refusal::UnusableValue { what: format!("the header {name} {why}") };
        let value = match origin {
            None => return Err(unusable("has not exactly one of value and valueFrom")),
            Some(Origin::Written(text)) => SecretText::from(text),
            Some(Origin::Token(prefix)) => prefixed(prefix, token),
            Some(Origin::Secret(reference, prefix)) => {
                let (value, version) = reader.read(reference).await?;
                secrets.push([reference.name.clone(), reference.key.clone(), version]);
                prefixed(prefix, &value)
            }
        };
        if !is_value(value.expose()) {
            return Err(unusable(
                "would hold a line break or another control character; look for one at the end of its Secret or token",
            ));
        }
        headers.push((name.to_owned(), value));
    }
    Ok(Resolved { headers, secrets, bounds: reader.bounds })
}
