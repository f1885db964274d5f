//! Puts values into the places of a parsed text.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::buffer::{SecretBuffer, TooLarge};
use super::header::is_value;
use super::placeholder::{Filter, Piece, Placeholder, Source, Template};
use crate::http::{scheme_at_end, without_scheme};
use crate::secret::SecretText;

/// The values that placeholders stand for. What is `None` is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scope<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) action: Option<&'a str>,
    pub(super) postback_url: Option<&'a str>,
    pub(super) active: Option<bool>,
    pub(super) headers: Option<&'a [(String, SecretText)]>,
    pub(super) parameters: Option<&'a BTreeMap<String, String>>,
    pub(super) token: Option<&'a SecretText>,
    pub(super) page: Option<u32>,
}

/// A value on its way into a document, path or header. Texts are wiped and never printed, since
/// any of them may be a token.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(SecretText),
    Boolean(bool),
    Number(u32),
    /// Names and values.
    Object(Vec<(String, SecretText)>),
    /// Objects of two members each: names of the members, then their values.
    Pairs {
        key: String,
        value: String,
        entries: Vec<(String, SecretText)>,
    },
}

impl Scope<'_> {
    fn value(&self, source: &Source) -> Option<Value> {
        let text = |text: &str| Value::Text(SecretText::from(text));
        match source {
            Source::Id => self.id.map(text),
            Source::Action => self.action.map(text),
            Source::PostbackUrl => self.postback_url.map(text),
            Source::Active => self.active.map(Value::Boolean),
            Source::Headers => self.headers.map(|headers| Value::Object(headers.to_vec())),
            Source::Header(name) => self.header(name).cloned().map(Value::Text),
            Source::Parameters => self.parameters.map(|parameters| {
                let entry =
                    |(name, value): (&String, &String)| (name.clone(), SecretText::from(value.as_str()));
                Value::Object(parameters.iter().map(entry).collect())
            }),
            Source::Parameter(name) => self.parameters?.get(name).map(|value| text(value)),
            Source::Token => self.token.cloned().map(Value::Text),
            Source::Page => self.page.map(Value::Number),
        }
    }

    fn has(&self, source: &Source) -> bool {
        match source {
            Source::Id => self.id.is_some(),
            Source::Action => self.action.is_some(),
            Source::PostbackUrl => self.postback_url.is_some(),
            Source::Active => self.active.is_some(),
            Source::Headers => self.headers.is_some(),
            Source::Header(name) => self.header(name).is_some(),
            Source::Parameters => self.parameters.is_some(),
            Source::Parameter(name) => self.parameters.is_some_and(|all| all.contains_key(name)),
            Source::Token => self.token.is_some(),
            Source::Page => self.page.is_some(),
        }
    }

    /// Whether everything the text needs is there.
    pub(super) fn has_all_of(&self, template: &Template) -> bool {
        template.sources().all(|source| self.has(source))
    }

    fn header(&self, name: &str) -> Option<&SecretText> {
        let mut headers = self.headers?.iter();
        let (_, value) = headers.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }
}

impl Value {
    fn filtered(self, filter: &Filter) -> Result<Self, TooLarge> {
        Ok(match (filter, self) {
            (Filter::Choose { yes, .. }, Self::Boolean(true)) => Self::Text(yes.as_str().into()),
            (Filter::Choose { no, .. }, Self::Boolean(false)) => Self::Text(no.as_str().into()),
            // A third longer at most, four times over at most: bounded without being checked.
            (Filter::Base64, Self::Text(text)) => Self::Text(STANDARD.encode(text.expose()).into()),
            (Filter::Json, value) => {
                let mut buffer = SecretBuffer::new();
                buffer.json(&value)?;
                Self::Text(buffer.finish())
            }
            (Filter::Pairs { key, value }, Self::Object(entries)) => {
                Self::Pairs { key: key.clone(), value: value.clone(), entries }
            }
            // Parsing lets no filter meet a shape that it does not take.
            (Filter::Choose { .. } | Filter::Base64 | Filter::Pairs { .. }, value) => value,
        })
    }

    /// Adds the value as plain text. Objects and lists cannot come here: parsing refuses them
    /// inside of texts.
    pub(super) fn write_text(&self, buffer: &mut SecretBuffer) -> Result<(), TooLarge> {
        match self {
            Self::Text(text) => buffer.text(text.expose()),
            value => buffer.json(value),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text.expose()),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Number(value) => serializer.serialize_u32(*value),
            Self::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (name, value) in entries {
                    map.serialize_entry(name, value.expose())?;
                }
                map.end()
            }
            Self::Pairs { key, value, entries } => {
                let mut list = serializer.serialize_seq(Some(entries.len()))?;
                for (name, text) in entries {
                    let pair = BTreeMap::from([(key, name.as_str()), (value, text.expose())]);
                    list.serialize_element(&pair)?;
                }
                list.end()
            }
        }
    }
}

impl Placeholder {
    pub(super) fn evaluate(&self, scope: &Scope<'_>) -> Result<Option<Value>, TooLarge> {
        let Some(mut value) = scope.value(&self.source) else {
            return Ok(None);
        };
        for filter in &self.filters {
            value = value.filtered(filter)?;
        }
        Ok(Some(value))
    }
}

impl Template {
    /// The value of the text: of a single placeholder with its type, otherwise a text; `None` when
    /// anything that it needs is absent.
    pub(super) fn evaluate(&self, scope: &Scope<'_>) -> Result<Option<Value>, TooLarge> {
        if let [Piece::Placeholder(only)] = self.pieces() {
            return only.evaluate(scope);
        }
        let mut buffer = SecretBuffer::new();
        let mut scheme = None;
        for piece in self.pieces() {
            match piece {
                Piece::Text(text) => {
                    buffer.text(text)?;
                    scheme = scheme_at_end(text);
                }
                Piece::Placeholder(placeholder) => {
                    match (placeholder.evaluate(scope)?, scheme.take()) {
                        // The text adds a scheme, as a header's prefix does.
                        (Some(Value::Text(token)), Some(scheme)) if placeholder.source == Source::Token => {
                            buffer.text(without_scheme(token.expose(), Some(scheme)))?;
                        }
                        (Some(value), _) => value.write_text(&mut buffer)?,
                        (None, _) => return Ok(None),
                    }
                }
            }
        }
        Ok(Some(Value::Text(buffer.finish())))
    }

    /// Whether what there is of the value can stand in a header.
    pub(super) fn fits_a_header(&self, scope: &Scope<'_>) -> bool {
        let value = self.text(scope).ok().flatten();
        value.is_none_or(|value| is_value(value.expose()))
    }

    /// The value as plain text, for a header.
    pub(super) fn text(&self, scope: &Scope<'_>) -> Result<Option<SecretText>, TooLarge> {
        let Some(value) = self.evaluate(scope)? else {
            return Ok(None);
        };
        let mut buffer = SecretBuffer::new();
        value.write_text(&mut buffer)?;
        Ok(Some(buffer.finish()))
    }
}
