//! What a client sends to create or replace a webhook, checked as Gupy documents it.

use std::collections::BTreeMap;

use axum::http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use url::{Host, Url};

use crate::secret::SecretText;

/// What Gupy sends when a webhook has no client headers; setting any drops it.
pub(super) const DEFAULT_CONTENT_TYPE: &str = "application/json;charset=utf-8";

/// Whether deliveries are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Deliveries are sent.
    #[default]
    Active,
    /// Nothing is sent; the webhook stays.
    Inactive,
}

/// The complete content of a webhook. A PUT replaces all of it: what it leaves out is gone.
#[derive(Clone)]
pub(super) struct Document {
    pub(super) action: String,
    pub(super) postback_url: String,
    /// The URL as the `url` crate writes it: two spellings of one URL are one URL.
    pub(super) normalised_url: String,
    pub(super) status: Status,
    pub(super) client_headers: BTreeMap<String, SecretText>,
}

impl Document {
    /// Reads a request's body; the error is the `detail` of a 400.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body).map_err(|_| "Invalid JSON body".to_owned())?;
        Self::from_json(&body)
    }

    pub(super) fn from_json(body: &Value) -> Result<Self, String> {
        let action = required(body, "action")?;
        let postback_url = required(body, "postbackUrl")?;
        let normalised_url =
            public_https(postback_url).ok_or("Invalid postbackUrl param: must be a public https URL")?;
        let status = match optional(body, "status")? {
            None | Some("active") => Status::Active,
            Some("inactive") => Status::Inactive,
            Some(_) => return Err("Invalid status param: must be active or inactive".into()),
        };
        optional(body, "techOwnerName")?;
        optional(body, "techOwnerEmail")?;
        Ok(Self {
            action: action.to_owned(),
            postback_url: postback_url.to_owned(),
            normalised_url,
            status,
            client_headers: client_headers(body)?,
        })
    }

    /// The headers of a delivery.
    pub(super) fn delivery_headers(&self) -> Vec<(String, SecretText)> {
        if self.client_headers.is_empty() {
            return vec![("Content-Type".to_owned(), DEFAULT_CONTENT_TYPE.into())];
        }
        self.client_headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

fn optional<'a>(body: &'a Value, name: &str) -> Result<Option<&'a str>, String> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("Invalid {name} param: must be string")),
    }
}

fn required<'a>(body: &'a Value, name: &str) -> Result<&'a str, String> {
    optional(body, name)?.filter(|text| !text.is_empty()).ok_or_else(|| format!("Missing {name} param"))
}

fn client_headers(body: &Value) -> Result<BTreeMap<String, SecretText>, String> {
    let fields = match body.get("clientHeaders") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err("Invalid clientHeaders param: must be object".into()),
    };
    fields
        .iter()
        .map(|(name, value)| match value {
            Value::String(text)
                if HeaderName::try_from(name).is_ok() && HeaderValue::try_from(text).is_ok() =>
            {
                Ok((name.clone(), SecretText::from(text.as_str())))
            }
            // Gupy's own words are not known; the value is left out because it may be a token.
            _ => Err("Invalid clientHeaders param: must hold header names and strings".to_owned()),
        })
        .collect()
}

/// The normalised form of an https URL whose host looks public, `None` for any other text.
fn public_https(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let Some(Host::Domain(host)) = url.host() else {
        return None;
    };
    let host = host.trim_end_matches('.');
    let private = [".local", ".localhost", ".internal", ".svc", ".lan", ".test"];
    let public = host.contains('.') && !private.iter().any(|suffix| host.ends_with(suffix));
    (url.scheme() == "https" && public).then(|| url.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn detail(body: &Value) -> String {
        Document::from_json(body).err().unwrap_or_else(|| panic!("accepted {body}"))
    }

    fn valid() -> Value {
        json!({"action": "job.published", "postbackUrl": "https://example.com/hook"})
    }

    #[test]
    fn action_and_url_are_enough() {
        let document = Document::from_json(&valid()).unwrap();
        assert_eq!(document.status, Status::Active);
        let headers = document.delivery_headers();
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[0].0, "Content-Type");
        assert_eq!(headers[0].1.expose(), "application/json;charset=utf-8");
    }

    #[test]
    fn any_client_header_drops_the_default_content_type() {
        let mut body = valid();
        body["clientHeaders"] = json!({"token": "t"});
        let headers = Document::from_json(&body).unwrap().delivery_headers();
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[0].0, "token");
    }

    #[test]
    fn what_is_missing_or_of_the_wrong_type_is_named() {
        for name in ["action", "postbackUrl"] {
            let mut body = valid();
            body.as_object_mut().unwrap().remove(name);
            assert_eq!(detail(&body), format!("Missing {name} param"));
        }
        for (name, value) in [
            ("action", json!(1)),
            ("status", json!("on")),
            ("techOwnerEmail", json!(["a"])),
            ("clientHeaders", json!([{"name": "a", "value": "b"}])),
            ("clientHeaders", json!({"a": 1})),
            ("clientHeaders", json!({"a b": "c"})),
            ("clientHeaders", json!({"a": "b\r\nc: d"})),
        ] {
            let mut body = valid();
            body[name] = value;
            assert!(detail(&body).contains(name), "{body}");
        }
        assert!(Document::parse(b"{").is_err());
        assert_eq!(detail(&json!([1])), "Missing action param");
    }

    #[test]
    fn only_public_https_hosts_are_taken() {
        for url in [
            "http://example.com/",
            "https://localhost/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://receiver/",
            "https://receiver.default.svc/",
            "https://printer.local./",
            "example.com",
        ] {
            assert_eq!(public_https(url), None, "{url}");
        }
        assert_eq!(
            public_https("HTTPS://Example.COM:443/a?b=c").as_deref(),
            Some("https://example.com/a?b=c")
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200), url in ".{0,60}") {
            let _ = Document::parse(&body);
            let _ = public_https(&url);
        }
    }
}
