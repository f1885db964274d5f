//! Who we are to the provider's API: `spec.auth`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::field::Field;
use super::header::{check_text, header_name, is_value};
use super::kept::Headers;
use super::secrets::SecretReader;
use crate::api::{NamedValue, ProviderAuth, SecretKeyReference, SourcedValue};
use crate::engine::ports::{Invalid, Refusal};
use crate::http::{HeaderName, prefixed};
use crate::secret::SecretText;

const AUTHORIZATION: HeaderName = HeaderName::from_static("authorization");
/// The most headers.
const MAX_HEADERS: usize = 32;

/// Who we are to the provider's API, checked.
pub(super) enum Credential {
    Bearer(SecretKeyReference),
    Basic { username: SourcedValue, password: SecretKeyReference },
    Headers(Vec<(HeaderName, NamedValue)>),
    None,
}

impl Credential {
    /// Checks `spec.auth`.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub(super) fn parse(auth: &ProviderAuth) -> Result<Self, Invalid> {
        let field = Field::new("spec.auth");
        let given =
            [auth.bearer.is_some(), auth.basic.is_some(), !auth.headers.is_empty(), auth.none.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            return Err(field.invalid("set exactly one of bearer, basic, headers and none"));
        }
        if let Some(bearer) = &auth.bearer {
            return Ok(Self::Bearer(bearer.secret_key_ref.clone()));
        }
        if let Some(basic) = &auth.basic {
            let field = field.child("basic").child("username");
            let username = basic.username.clone();
            check_source(&username.value, username.value_from.is_some(), &field)?;
            // The first colon ends the name (RFC 7617, section 2).
            if username.value.as_ref().is_some_and(|name| name.contains(':')) {
                return Err(field.invalid("a user name cannot hold a colon"));
            }
            return Ok(Self::Basic { username, password: basic.password.secret_key_ref.clone() });
        }
        let field = field.child("headers");
        if auth.headers.len() > MAX_HEADERS {
            return Err(field.invalid(format!("there are more than {MAX_HEADERS} headers")));
        }
        let mut headers: Vec<(HeaderName, NamedValue)> = Vec::new();
        for (index, header) in auth.headers.iter().enumerate() {
            let field = field.item(index);
            let name = header_name(&header.name, &field.child("name"))?;
            if headers.iter().any(|(known, _)| *known == name) {
                return Err(field.child("name").invalid("the header is given twice"));
            }
            check_source(&header.value, header.value_from.is_some(), &field)?;
            if let Some(prefix) = header.value_from.as_ref().and_then(|from| from.prefix.as_ref()) {
                check_text(prefix, &field.child("valueFrom").child("prefix"))?;
            }
            headers.push((name, header.clone()));
        }
        if headers.is_empty() { Ok(Self::None) } else { Ok(Self::Headers(headers)) }
    }

    /// The names of the headers that are sent.
    pub(super) fn header_names(&self) -> Vec<HeaderName> {
        match self {
            Self::Bearer(_) | Self::Basic { .. } => vec![AUTHORIZATION],
            Self::Headers(headers) => headers.iter().map(|(name, _)| name.clone()).collect(),
            Self::None => Vec::new(),
        }
    }

    /// Reads the credential and makes headers of it.
    ///
    /// # Errors
    /// A Secret that cannot be read, or a value that cannot stand in a header. The value is not in the
    /// error.
    pub(super) async fn headers(&self, mut reader: SecretReader<'_>) -> Result<Headers, Refusal> {
        let mut headers = match self {
            Self::None => Vec::new(),
            Self::Bearer(reference) => {
                let token = reader.read(reference).await?.0;
                let value = prefixed("Bearer ", &token);
                vec![(AUTHORIZATION, value)]
            }
            Self::Basic { username, password } => {
                let username = reader.sourced(username).await?;
                if username.expose().contains(':') {
                    return Err(unusable("the user name of spec.auth.basic holds a colon"));
                }
                let password = reader.read(password).await?.0;
                let mut pair = SecretText::new([username.expose(), ":", password.expose()].concat());
                // Base64 would hide a line break from the check below, and the provider would
                // refuse the password without saying why.
                if !is_value(pair.expose()) {
                    return Err(unusable(
                        "the user name or password of spec.auth.basic holds a line break or another control character",
                    ));
                }
                pair = SecretText::new(STANDARD.encode(pair.expose()));
                let value = SecretText::new(["Basic ", pair.expose()].concat());
                vec![(AUTHORIZATION, value)]
            }
            Self::Headers(written) => {
                let mut headers = Vec::with_capacity(written.len());
                for (name, header) in written {
                    headers.push((name.clone(), reader.named(header).await?));
                }
                headers
            }
        };
        for (name, value) in &mut headers {
            if !is_value(value.expose()) {
                return Err(unusable(format!(
                    "the header {name} of spec.auth would hold a line break or another control character; look for one at the end of its Secret"
                )));
            }
        }
        Ok(Headers { headers, bounds: reader.bounds })
    }
}

fn unusable(what: impl Into<String>) -> Refusal {
    Refusal::UnusableValue { what: what.into() }
}

fn check_source(value: &Option<String>, has_source: bool, field: &Field) -> Result<(), Invalid> {
    if value.is_some() == has_source {
        return Err(field.invalid("set exactly one of value and valueFrom"));
    }
    match value {
        Some(value) => check_text(value, &field.child("value")),
        None => Ok(()),
    }
}
