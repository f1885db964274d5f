//! Values that a token source is configured with, written out or taken from a Secret.

use url::Url;

use crate::api::{NamedValue, SecretKeyReference, SecretSource};
use crate::engine::ports::{Refusal, SecretValue, Secrets};
use crate::http::prefixed;
use crate::secret::SecretText;
use crate::secret::bounds::Bounds;

/// The values of one source, for one request: its namespace's Secrets.
pub(super) struct Values<'a> {
    secrets: &'a dyn Secrets,
    namespace: &'a str,
    /// Where everything that was taken from a Secret may go.
    bounds: Bounds,
}

impl<'a> Values<'a> {
    pub(super) fn new(secrets: &'a dyn Secrets, namespace: &'a str) -> Self {
        Self { secrets, namespace, bounds: Bounds::default() }
    }

    /// Where the request may go that is made of the values.
    pub(super) fn bounds(&self) -> Bounds {
        self.bounds.clone()
    }

    /// Reads a key whose value is not sent to the token source: it is the token.
    pub(super) async fn read(&self, reference: &SecretKeyReference) -> Result<SecretValue, Refusal> {
        self.secrets.find(self.namespace, reference).await
    }

    /// A key's value that is to be sent.
    pub(super) async fn secret(&mut self, source: &SecretSource) -> Result<SecretText, Refusal> {
        let reference = &source.secret_key_ref;
        let value = self.secrets.find(self.namespace, reference).await?;
        Ok(value.open(&reference.name, &mut self.bounds).without_line_end())
    }

    /// A value that is written out or in a Secret; `field` names it when it is neither or both.
    pub(super) async fn sourced(
        &mut self,
        value: Option<&String>,
        value_from: Option<&SecretSource>,
        field: &str,
    ) -> Result<SecretText, Refusal> {
        match (value, value_from) {
            (Some(value), None) => Ok(value.as_str().into()),
            (None, Some(source)) => self.secret(source).await,
            _ => Err(unusable(format!("{field}: set exactly one of value and valueFrom"))),
        }
    }

    /// All values of a list, each with its name.
    pub(super) async fn named<'n>(
        &mut self,
        list: &'n [NamedValue],
        field: &str,
    ) -> Result<Vec<(&'n str, SecretText)>, Refusal> {
        let mut named = Vec::with_capacity(list.len());
        for entry in list {
            let field = format!("{field}[{}]", entry.name);
            let from = entry.value_from.as_ref();
            let secret = from.map(|from| SecretSource { secret_key_ref: from.secret_key_ref.clone() });
            let mut value = self.sourced(entry.value.as_ref(), secret.as_ref(), &field).await?;
            if let Some(prefix) = from.and_then(|from| from.prefix.as_deref()) {
                value = prefixed(prefix, &value);
            }
            named.push((entry.name.as_str(), value));
        }
        Ok(named)
    }
}

/// Reads the URL of a field.
pub(super) fn parse_url(text: &str, field: &str) -> Result<Url, Refusal> {
    text.parse().map_err(|_| unusable(format!("{field} is no absolute URL")))
}

/// A value that cannot stand where it is to be sent.
pub(super) fn unusable(what: impl Into<String>) -> Refusal {
    Refusal::UnusableValue { what: what.into() }
}

/// Fields as a form (`application/x-www-form-urlencoded`).
pub(super) fn form<'f>(fields: impl IntoIterator<Item = (&'f str, &'f SecretText)>) -> SecretText {
    let fields: Vec<_> = fields.into_iter().collect();
    // Room for every byte percent-encoded: a string that grows leaves copies behind, unwiped.
    let room = fields.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut form = url::form_urlencoded::Serializer::new(String::with_capacity(room));
    for (name, value) in fields {
        form.append_pair(name, value.expose());
    }
    form.finish().into()
}
