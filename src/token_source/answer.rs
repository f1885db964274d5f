//! Reading a token and its life out of an answer.
//!
//! What is refused is named by its place and never by its content.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::expiry;
use super::statements::Statements;
use crate::api::{ResponseFormat, TokenResponse};
use crate::engine::ports::{Lifetime, MintFailure};
use crate::http::{is_bare_scheme, read_json, without_scheme};
use crate::secret::SecretText;

/// A token larger than this fits no header.
const MAX_TOKEN: usize = 16 * 1024;
/// The most values of an answer; those of real token servers have a dozen.
pub(super) const MAX_VALUES: usize = 4096;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Members that hold the token when no path is given, in this order.
const TOKEN_MEMBERS: [&str; 3] = ["access_token", "accessToken", "token"];
/// Members that hold the life when no path is given; the first one that is there counts.
const LIFE_MEMBERS: [&str; 2] = ["expires_in", "expiresIn"];
/// Members that hold the end of the life when no path is given; the first one that is there counts.
const END_MEMBERS: [&str; 2] = ["expires_at", "expiresAt"];
/// Members that some token servers fill with an epoch and others with a date of their country (Azure's
/// managed identities do both): they count where they can be read, and are passed over elsewhere.
const LOOSE_END_MEMBERS: [&str; 2] = ["expires_on", "expiresOn"];
/// Members that say, where there is no token, that the answer is an error.
const ERROR_MEMBERS: [&str; 8] = [
    "error",
    "errors",
    "error_code",
    "errorCode",
    "error_description",
    "error_message",
    "errorMessage",
    "fault",
];

/// How an expiry is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Seconds from now.
    In,
    /// A moment.
    At,
}

/// How to read an answer.
pub(super) struct Rules<'a> {
    /// `None` for a source whose answer has one form only.
    response: Option<&'a TokenResponse>,
    assumed_lifetime: Option<Duration>,
}

/// How an answer is read when nothing is said about it.
static BY_DEFAULT: TokenResponse =
    TokenResponse { format: None, token_path: None, expires_in_path: None, expires_at_path: None };

impl<'a> Rules<'a> {
    /// The rules of RFC 6749, and the life of a token whose source says nothing of it.
    pub(super) fn of_oauth2(assumed_lifetime: Option<Duration>) -> Self {
        Self { response: None, assumed_lifetime }
    }

    /// The rules of a `response`, and the life of a token whose source says nothing of it.
    pub(super) fn of_http(response: Option<&'a TokenResponse>, assumed_lifetime: Option<Duration>) -> Self {
        Self { response: Some(response.unwrap_or(&BY_DEFAULT)), assumed_lifetime }
    }

    fn response(&self) -> &'a TokenResponse {
        self.response.unwrap_or(&BY_DEFAULT)
    }

    /// What to do about something that is not where it is looked for.
    fn set(&self, field: &str) -> String {
        match self.response {
            Some(_) => format!("set response.{field} to where it is"),
            None => format!(
                "for a server that answers otherwise than RFC 6749, describe the source as http with response.{field}"
            ),
        }
    }

    /// Reads the token and how long it lives from `now` on, which is when the answer was made.
    pub(super) fn read(
        &self,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(SecretText, Lifetime), MintFailure> {
        let (token, mut stated) = match self.response().format.unwrap_or_default() {
            ResponseFormat::Json => self.read_json(body, now)?,
            ResponseFormat::Text => (self.read_text(body)?, Statements::default()),
        };
        stated.add_own(own_end(&token), now)?;
        Ok((token, stated.lifetime(self.assumed_lifetime)?))
    }

    /// The token, and what the document states of its life beside it.
    fn read_json(&self, body: &[u8], now: DateTime<Utc>) -> Result<(SecretText, Statements), MintFailure> {
        let mut document = read_json(body, MAX_VALUES).ok_or_else(|| {
            unusable(match self.response {
                Some(_) => "it is no JSON of a usual size; check http.url, or, if the token is the whole body, set response.format: Text",
                None => "it is no JSON of a usual size; check that oauth2.tokenUrl is the token endpoint",
            })
        })?;
        let path = self.response().token_path.as_deref();
        let member = TOKEN_MEMBERS.into_iter().find(|name| present(document.get(name)).is_some());
        let is_there = match path {
            Some(path) => present(document.pointer(path)).is_some(),
            None => member.is_some(),
        };
        if !is_there && says_an_error(&document) {
            return Err(MintFailure::Declined);
        }
        // Before the token is taken out of the document.
        let stated = self.stated(&document, now)?;

        let (place, found) = match (path, member) {
            (Some(path), _) => (path, document.pointer_mut(path)),
            (None, Some(member)) => (member, document.get_mut(member)),
            (None, None) => {
                let advice = self.set("tokenPath");
                return Err(unusable(format!(
                    "it has none of the members access_token, accessToken and token; {advice}"
                )));
            }
        };
        // Moved out and not copied, so that no second copy stays behind unwiped.
        match found.map(Value::take) {
            Some(Value::String(token)) => Ok((usable(SecretText::new(token), place)?, stated)),
            None | Some(Value::Null) => Err(nothing_at(place)),
            Some(_) => {
                let advice = self.set("tokenPath");
                Err(unusable(format!("what is at {place} is no string; {advice}")))
            }
        }
    }

    /// What the document states of the token's life. A path that is given must find it; without one,
    /// a member that cannot be read does no harm beside another one that can.
    fn stated(&self, document: &Value, now: DateTime<Utc>) -> Result<Statements, MintFailure> {
        let response = self.response();
        let mut stated = Statements::default();
        let given = [(&response.expires_in_path, Form::In), (&response.expires_at_path, Form::At)];
        for (path, form) in given {
            if let Some(path) = path {
                let value = present(document.pointer(path)).ok_or_else(|| nothing_at(path))?;
                self.add(value, form, path, now, &mut stated)?;
            }
        }
        if given.iter().any(|(path, _)| path.is_some()) {
            return Ok(stated);
        }
        let mut unreadable = None;
        for (names, form) in [(LIFE_MEMBERS, Form::In), (END_MEMBERS, Form::At)] {
            let found = names.into_iter().find_map(|name| Some((name, present(document.get(name))?)));
            let found = found.or_else(|| {
                let readable = |value: &&Value| form == Form::At && expiry::moment(value).is_some();
                let named = |name| Some((name, present(document.get(name)).filter(readable)?));
                LOOSE_END_MEMBERS.into_iter().find_map(named)
            });
            match found.map(|(name, value)| self.add(value, form, name, now, &mut stated)) {
                Some(Err(failure @ MintFailure::Unusable { .. })) => {
                    unreadable.get_or_insert(failure);
                }
                Some(Err(failure)) => return Err(failure),
                Some(Ok(())) | None => {}
            }
        }
        match unreadable {
            Some(failure) if stated.is_empty() => Err(failure),
            _ => Ok(stated),
        }
    }

    /// The whole body as the token.
    fn read_text(&self, body: &[u8]) -> Result<SecretText, MintFailure> {
        let response = self.response();
        if response.token_path.is_some()
            || response.expires_in_path.is_some()
            || response.expires_at_path.is_some()
        {
            return Err(unusable("response.format Text has no place for a path; remove it or use Json"));
        }
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body).trim_ascii();
        let text = std::str::from_utf8(body).unwrap_or_default();
        // A page or a document with status 200 would be sent to the provider as a token.
        if text.starts_with(['<', '{', '[']) || without_scheme(text, None).contains([' ', '\t']) {
            return Err(unusable(
                "the body is a document or a sentence and no token; check http.url, or, if it is JSON, leave response.format out",
            ));
        }
        usable(text.into(), "the body")
    }

    /// Adds what a value states.
    fn add(
        &self,
        value: &Value,
        form: Form,
        place: &str,
        now: DateTime<Utc>,
        stated: &mut Statements,
    ) -> Result<(), MintFailure> {
        match form {
            Form::In => {
                let life = expiry::seconds(value).ok_or_else(|| {
                    let is_date = value.is_string() && expiry::moment(value).is_some();
                    let (what, path) = if is_date {
                        ("a date and no number of seconds", "expiresAtPath")
                    } else {
                        ("no number of seconds", "expiresInPath")
                    };
                    unusable(format!("what is at {place} is {what}; {}", self.set(path)))
                })?;
                stated.add_life(life, place);
                Ok(())
            }
            Form::At => {
                let end = expiry::moment(value).ok_or_else(|| {
                    let advice = self.set("expiresAtPath");
                    unusable(format!(
                        "what is at {place} is neither an RFC 3339 time with an offset nor an epoch in seconds or milliseconds; {advice}"
                    ))
                })?;
                stated.add_end(end, place, now)
            }
        }
    }
}

/// The end that a token states itself: of a JWT, with or without a scheme before it.
pub(super) fn own_end(token: &SecretText) -> Option<DateTime<Utc>> {
    expiry::jwt_end(without_scheme(token.expose(), None))
}

/// Whether a document without a token says that something went wrong.
fn says_an_error(document: &Value) -> bool {
    ERROR_MEMBERS.into_iter().filter_map(|name| document.get(name)).any(|value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(true) => true,
    })
}

/// A token that can stand in a header, without blanks and line ends around it. Blanks inside are
/// legal there (RFC 9110, section 5.5): many a token has its scheme before it.
pub(super) fn usable(token: SecretText, place: &str) -> Result<SecretText, MintFailure> {
    let trimmed = token.expose().trim_ascii();
    let token = if trimmed.len() == token.len() { token } else { trimmed.into() };
    if token.is_empty() || is_bare_scheme(token.expose()) {
        return Err(unusable(format!("the token at {place} is empty; check what issues it")));
    }
    if token.len() > MAX_TOKEN {
        return Err(unusable(format!(
            "the token at {place} is larger than 16 KiB, too large for a header; have fewer claims put into it"
        )));
    }
    if !token.expose().bytes().all(|byte| byte.is_ascii_graphic() || b" \t".contains(&byte)) {
        return Err(unusable(format!(
            "the token at {place} holds something else than visible ASCII characters and blanks, such as a line break, and cannot stand in a header; check what issues it"
        )));
    }
    Ok(token)
}

/// A path was given, and it leads nowhere.
fn nothing_at(path: &str) -> MintFailure {
    unusable(format!("there is nothing at {path}; correct the path in response"))
}

/// What an answer, or a Secret, is unusable for, and what to do about it.
pub(super) fn unusable(what: impl Into<String>) -> MintFailure {
    MintFailure::Unusable { what: what.into() }
}

/// A value that is there; many serialisers write `null` for one that is not.
fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
