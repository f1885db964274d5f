//! What the files need to know of a sandbox, and how they write it.

use crate::sandbox::{Client, Platform};
use crate::secret::SecretText;

/// What the files need to know of a sandbox.
#[derive(Clone, Debug)]
pub struct SandboxInfo {
    /// Its base URL, without a trailing slash.
    pub url: String,
    /// The bearer token of its provider API.
    pub management_token: SecretText,
    /// The client that asks for tokens.
    pub client: Client,
    /// Its other platforms, each with the name of its receiver.
    pub platforms: Vec<(String, Platform)>,
}

/// A text as a YAML scalar: every JSON string is one.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
