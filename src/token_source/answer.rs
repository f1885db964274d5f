//! Reading a token and its life out of an answer.
//!
//! What is refused is named by its place and never by its content.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{LONGEST_LIFE, expiry};
use crate::api::{ResponseFormat, TokenResponse};
use crate::engine::ports::MintFailure;
use crate::http::read_json;
use crate::secret::SecretText;

/// A token larger than this fits no header.
const MAX_TOKEN: usize = 16 * 1024;
/// The most values of an answer; those of real token servers have a dozen.
pub(super) const MAX_VALUES: usize = 4096;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Members that hold the token when no path is given, in this order.
const TOKEN_MEMBERS: [&str; 3] = ["access_token", "accessToken", "token"];
/// Members that hold the life, or its end, when no path is given, in this order.
const EXPIRY_MEMBERS: [(&str, Form); 4] =
    [("expires_in", Form::In), ("expiresIn", Form::In), ("expires_at", Form::At), ("expiresAt", Form::At)];

/// How an expiry is written.
#[derive(Clone, Copy)]
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
    ) -> Result<(SecretText, Option<Duration>), MintFailure> {
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let (token, stated) = match self.response().format.unwrap_or_default() {
            ResponseFormat::Json => self.read_json(body, now)?,
            ResponseFormat::Text => (self.read_text(body)?, None),
        };
        let lifetime = match stated {
            Some(lifetime) => Some(lifetime),
            None => lifetime_of(&token, self.assumed_lifetime, now)?,
        };
        Ok((token, lifetime))
    }

    /// The token, and the life that the document states beside it.
    fn read_json(
        &self,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(SecretText, Option<Duration>), MintFailure> {
        let mut document = read_json(body, MAX_VALUES).ok_or_else(|| {
            unusable(match self.response {
                Some(_) => "it is no JSON of a usual size; check http.url, or, if the token is the whole body, set response.format: Text",
                None => "it is no JSON of a usual size; check that oauth2.tokenUrl is the token endpoint",
            })
        })?;
        // Before the token is taken out of the document.
        let lifetime = self.stated_lifetime(&document, now)?;

        let (place, found) = match &self.response().token_path {
            Some(path) => (path.as_str(), document.pointer_mut(path)),
            None => {
                let place = TOKEN_MEMBERS
                    .into_iter()
                    .find(|name| present(document.get(name)).is_some())
                    .ok_or_else(|| {
                        let advice = self.set("tokenPath");
                        unusable(format!(
                            "it has none of the members access_token, accessToken and token; {advice}"
                        ))
                    })?;
                (place, document.get_mut(place))
            }
        };
        // Moved out and not copied, so that no second copy stays behind unwiped.
        match found.map(Value::take) {
            Some(Value::String(token)) => Ok((usable(SecretText::new(token), place)?, lifetime)),
            None | Some(Value::Null) => Err(nothing_at(place)),
            Some(_) => {
                let advice = self.set("tokenPath");
                Err(unusable(format!("what is at {place} is no string; {advice}")))
            }
        }
    }

    /// The life that the document states; a path that is given must find it.
    fn stated_lifetime(&self, document: &Value, now: DateTime<Utc>) -> Result<Option<Duration>, MintFailure> {
        let response = self.response();
        let given = [(&response.expires_in_path, Form::In), (&response.expires_at_path, Form::At)];
        for (path, form) in given {
            if let Some(path) = path {
                let value = present(document.pointer(path)).ok_or_else(|| nothing_at(path))?;
                return self.lifetime(value, form, path, now).map(Some);
            }
        }
        EXPIRY_MEMBERS
            .into_iter()
            .find_map(|(name, form)| Some((present(document.get(name))?, form, name)))
            .map(|(value, form, name)| self.lifetime(value, form, name, now))
            .transpose()
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
        let text = std::str::from_utf8(body.trim_ascii()).unwrap_or_default();
        usable(text.into(), "the body")
    }

    /// The life that a value states.
    fn lifetime(
        &self,
        value: &Value,
        form: Form,
        place: &str,
        now: DateTime<Utc>,
    ) -> Result<Duration, MintFailure> {
        let life = match form {
            Form::In => expiry::seconds(value)
                .ok_or_else(|| {
                    let advice = self.set("expiresInPath");
                    unusable(format!("what is at {place} is no number of seconds; {advice}"))
                })
                .map(|life| (!life.is_zero()).then_some(life)),
            Form::At => expiry::moment(value)
                .ok_or_else(|| {
                    let advice = self.set("expiresAtPath");
                    unusable(format!(
                        "what is at {place} is neither an RFC 3339 time with an offset nor an epoch in seconds or milliseconds; {advice}"
                    ))
                })
                .map(|end| expiry::life_until(end, now)),
        };
        life?.ok_or(MintFailure::ExpiredOnArrival)
    }
}

/// The life of a token that says itself when it ends, else the assumed one.
pub(super) fn lifetime_of(
    token: &SecretText,
    assumed: Option<Duration>,
    now: DateTime<Utc>,
) -> Result<Option<Duration>, MintFailure> {
    match expiry::jwt_end(token.expose()) {
        Some(end) => expiry::life_until(end, now).map(Some).ok_or(MintFailure::ExpiredOnArrival),
        None => Ok(assumed.map(|life| life.min(LONGEST_LIFE))),
    }
}

/// Whether a token can stand in a header.
pub(super) fn usable(token: SecretText, place: &str) -> Result<SecretText, MintFailure> {
    if token.is_empty() {
        return Err(unusable(format!("the token at {place} is empty; check what issues it")));
    }
    if token.len() > MAX_TOKEN {
        return Err(unusable(format!(
            "the token at {place} is larger than 16 KiB, too large for a header; have fewer claims put into it"
        )));
    }
    if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable(format!(
            "the token at {place} holds something else than visible ASCII characters, such as a blank, and cannot stand in a header; check what issues it"
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: &str = "2026-11-21T17:00:00Z";

    type Read = Result<(String, Option<u64>), MintFailure>;

    fn read_with(response: &TokenResponse, assumed: Option<u64>, body: impl AsRef<[u8]>) -> Read {
        let assumed = assumed.map(Duration::from_secs);
        let (token, life) =
            Rules::of_http(Some(response), assumed).read(body.as_ref(), NOW.parse().unwrap())?;
        Ok((token.expose().to_owned(), life.map(|life| life.as_secs())))
    }

    fn read(body: impl AsRef<[u8]>) -> Read {
        read_with(&TokenResponse::default(), None, body)
    }

    fn token(life: impl Into<Option<u64>>) -> Read {
        Ok(("abc".to_owned(), life.into()))
    }

    fn paths(token: Option<&str>, expires_in: Option<&str>, expires_at: Option<&str>) -> TokenResponse {
        TokenResponse {
            format: None,
            token_path: token.map(str::to_owned),
            expires_in_path: expires_in.map(str::to_owned),
            expires_at_path: expires_at.map(str::to_owned),
        }
    }

    fn is_unusable(read: Read) -> bool {
        matches!(read, Err(MintFailure::Unusable { .. }))
    }

    #[test]
    fn answers_that_need_no_setting() {
        for (body, life) in [
            (r#"{"access_token":"abc","token_type":"Bearer","expires_in":3600}"#, Some(3600)),
            (r#"{"accessToken":"abc","expiresIn":604800,"tokenType":"Bearer"}"#, Some(604_800)),
            (r#"{"token":"abc","expiresAt":"2026-11-21T18:00:00Z"}"#, Some(3600)),
            (r#"{"token":"abc","expires_at":"2026-11-21T15:00:00-03:00"}"#, Some(3600)),
            (r#"{"token":"abc","expires_at":1795284000000}"#, Some(3600)),
            (r#"{"token":"abc","expires_in":"3600"}"#, Some(3600)),
            (r#"{"token":"abc","expires_in":9e12}"#, Some(400 * 86_400)),
            (r#"{"token":"abc","expires_in":null,"expires_at":1795284000}"#, Some(3600)),
            (r#"{"access_token":null,"token":"abc"}"#, None),
            (r#"{"token":"abc"}"#, None),
            ("\u{feff}{\"token\":\"abc\"}", None),
            (" {\"token\":\"abc\"}\r\n", None),
            // The first member that is there counts.
            (r#"{"token":"x","access_token":"abc","expiresIn":1,"expires_in":2}"#, Some(2)),
        ] {
            assert_eq!(read(body), token(life), "{body}");
        }
    }

    #[test]
    fn paths_find_their_way() {
        let response = paths(Some("/data/0/a~1b"), Some("/life"), None);
        assert_eq!(
            read_with(&response, None, r#"{"data":[{"a/b":"abc"}],"life":60,"expires_in":1}"#),
            token(60)
        );
        let response = paths(None, None, Some("/end"));
        assert_eq!(
            read_with(&response, None, r#"{"token":"abc","end":1795284000,"expires_in":1}"#),
            token(3600)
        );
        assert_eq!(read_with(&paths(Some(""), None, None), None, r#""abc""#), token(None));
    }

    #[test]
    fn a_path_that_finds_nothing_is_refused() {
        let body = r#"{"token":"abc","expires_in":60,"nothing":null}"#;
        for path in ["/missing", "/nothing", "/token/deeper", "no slash"] {
            for response in
                [paths(Some(path), None, None), paths(None, Some(path), None), paths(None, None, Some(path))]
            {
                assert!(is_unusable(read_with(&response, Some(9), body)), "{response:?}");
            }
        }
    }

    #[test]
    fn a_token_that_knows_its_own_end() {
        // {"exp":1795284000}
        let jwt = "e30.eyJleHAiOjE3OTUyODQwMDB9.c2ln";
        let life = |read: Read| read.unwrap().1;
        assert_eq!(life(read(format!(r#"{{"token":"{jwt}"}}"#))), Some(3600));
        assert_eq!(life(read(format!(r#"{{"token":"{jwt}","expires_in":60}}"#))), Some(60));
        let assumed = read_with(&TokenResponse::default(), Some(9), format!(r#"{{"token":"{jwt}"}}"#));
        assert_eq!(life(assumed), Some(3600));
    }

    #[test]
    fn the_assumed_life_is_the_last_resort() {
        let response = TokenResponse::default();
        assert_eq!(read_with(&response, Some(9), r#"{"token":"abc"}"#), token(9));
        assert_eq!(read_with(&response, Some(9), r#"{"token":"abc","expires_in":60}"#), token(60));
        assert_eq!(read_with(&response, Some(500 * 86_400), r#"{"token":"abc"}"#), token(400 * 86_400));
    }

    #[test]
    fn the_whole_body_as_the_token() {
        let mut response = TokenResponse { format: Some(ResponseFormat::Text), ..TokenResponse::default() };
        for body in ["abc", "abc\n", " \r\nabc\r\n", "\u{feff}abc"] {
            assert_eq!(read_with(&response, Some(9), body), token(9), "{body:?}");
        }
        for body in [&b"a b"[..], b"", b"\n", b"a\x00b", b"\xff\xfe", "caf\u{e9}".as_bytes()] {
            assert!(is_unusable(read_with(&response, None, body)), "{body:?}");
        }
        response.expires_in_path = Some("/x".to_owned());
        assert!(is_unusable(read_with(&response, None, "abc")));
    }

    #[test]
    fn a_token_that_arrives_expired_is_refused() {
        for body in [
            r#"{"token":"abc","expires_in":0}"#,
            r#"{"token":"abc","expires_at":"2026-11-21T17:00:00Z"}"#,
            r#"{"token":"abc","expires_at":0}"#,
            // {"exp":1}
            r#"{"token":"e30.eyJleHAiOjF9.c2ln"}"#,
        ] {
            assert_eq!(read(body), Err(MintFailure::ExpiredOnArrival), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_and_not_shown() {
        for body in [
            "",
            "canary",
            "null",
            "[]",
            "{}",
            "\"canary\"",
            r#"{"error":"canary"}"#,
            r#"{"token":""}"#,
            r#"{"token":7}"#,
            r#"{"token":{"canary":"abc"}}"#,
            r#"{"token":"Bearer canary"}"#,
            r#"{"token":"canary\r\nX-Injected: 1"}"#,
            r#"{"token":"canary\u00e9"}"#,
            r#"{"token":"canary","expires_in":true}"#,
            r#"{"token":"canary","expires_in":-1}"#,
            r#"{"token":"canary","expires_in":"soon"}"#,
            r#"{"token":"canary","expires_in":NaN}"#,
            r#"{"token":"canary","expires_in":1e400}"#,
            r#"{"token":"canary","expires_in":{}}"#,
            r#"{"token":"canary","expires_at":"2026-11-21"}"#,
            r#"{"token":"canary","expires_at":1795284000000000}"#,
            r#"{"token":"canary"} trailing"#,
        ] {
            let result = read(body);
            assert!(!format!("{result:?}").contains("canary"), "{result:?}");
            assert!(is_unusable(result), "{body}");
        }
        let long = format!(r#"{{"token":"{}"}}"#, "a".repeat(MAX_TOKEN + 1));
        assert!(is_unusable(read(long)));
        assert!(is_unusable(read("[".repeat(100_000))));
        let wide = format!(r#"{{"token":"abc","more":[{}0]}}"#, r#"{"a":0},"#.repeat(100_000));
        assert!(is_unusable(read(wide)));
        let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(is_unusable(read(utf16)));
    }

    #[test]
    fn the_advice_is_one_that_the_kind_of_source_can_follow() {
        for body in ["<html>", "{}", r#"{"token":7}"#, r#"{"token":"abc","expires_in":true}"#] {
            let advice =
                |rules: Rules<'_>| rules.read(body.as_bytes(), NOW.parse().unwrap()).unwrap_err().to_string();
            let of_http = advice(Rules::of_http(None, None));
            assert!(of_http.contains("set response."), "{of_http}");
            let of_oauth2 = advice(Rules::of_oauth2(None));
            assert!(
                of_oauth2.contains("check that oauth2.tokenUrl") || of_oauth2.contains("as http with"),
                "{of_oauth2}"
            );
        }
    }

    fn any_response() -> impl Strategy<Value = TokenResponse> {
        let path = || proptest::option::of("(/[a-z~0-9_]{0,6}){0,2}|/token|/expires_in");
        (any::<bool>(), path(), path(), path()).prop_map(|(text, token, expires_in, expires_at)| {
            TokenResponse {
                format: text.then_some(ResponseFormat::Text),
                token_path: token,
                expires_in_path: expires_in,
                expires_at_path: expires_at,
            }
        })
    }

    proptest! {
        #[test]
        fn reading_is_total(response in any_response(), body: Vec<u8>) {
            let _ = read_with(&response, None, body);
        }

        #[test]
        fn reading_is_total_for_what_looks_like_an_answer(
            response in any_response(),
            token in "\\PC{0,20}",
            name in "expires_in|expiresIn|expires_at|expiresAt",
            number in prop_oneof![
                any::<f64>().prop_map(|number| number.to_string()),
                any::<i64>().prop_map(|number| number.to_string()),
                any::<u64>().prop_map(|number| format!("\"{number}\"")),
                "\\PC{0,10}",
            ],
        ) {
            let token = serde_json::to_string(&token).unwrap();
            let body = format!(r#"{{"token":{token},"{name}":{number}}}"#);
            if let Ok((token, life)) = read_with(&response, None, body) {
                prop_assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(life.is_none_or(|life| life <= LONGEST_LIFE.as_secs()));
            }
        }
    }
}
