//! What the schema of the custom resources asks of names, URLs, headers and lists.
//!
//! Everything is bounded: the API server estimates the cost of a CEL rule from the bounds, and one
//! rule over its budget makes it refuse the whole definition.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Name of an object: a DNS subdomain (RFC 1123), as the API server asks.
pub(super) const OBJECT_NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Key inside a Secret.
pub(super) const SECRET_KEY: &str = "^[-._a-zA-Z0-9]+$";
/// An HTTP token (RFC 9110, section 5.6.2), such as the name of a header.
pub(super) const HTTP_TOKEN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
/// Value of a header: neither CR nor LF nor NUL (RFC 9110, section 5.5).
pub(super) const HEADER_VALUE: &str = r"^[^\r\n\x00]*$";
/// Name of an event.
pub(super) const ACTION: &str = "^[A-Za-z0-9._:/-]+$";
/// Visible ASCII without blanks.
pub(super) const VISIBLE_ASCII: &str = "^[!-~]+$";
/// Visible ASCII and blanks, such as a media type.
pub(super) const PRINTABLE_ASCII: &str = "^[ -~]+$";
/// A scope token (RFC 6749, section 3.3).
pub(super) const SCOPE: &str = r"^[!#-\[\]-~]+$";
/// A JSON Pointer (RFC 6901), without control characters: it stands in messages.
pub(super) const JSON_POINTER: &str = r"^(/([^/~\x00-\x1f\x7f-\x9f]|~[01])*)*$";
/// Path and query of an operation, which stand in messages too.
pub(super) const OPERATION_PATH: &str = r"^/[^#[:space:]\x00-\x1f\x7f-\x9f]*$";
/// Public path of a receiver, of characters that every proxy leaves as they are; `.` and `..` are refused
/// beside it.
pub(super) const RECEIVER_PATH: &str = r"^(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+$";
/// URL of the request that asks a platform for one id.
pub(super) const FALLBACK_URL: &str =
    r"^https?://[^/?#@{}[:space:]]+([/?][^#[:space:]\x00-\x1f\x7f-\x9f]*)?$";
/// Name of a preset.
pub(super) const PRESET: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// Name of a parameter.
pub(super) const PARAMETER_NAME: &str = "^[A-Za-z][A-Za-z0-9_-]*$";
/// A DNS name.
pub(super) const HOST: &str = r"^[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?$";
/// A host as a URL names it: a DNS name, an IPv4 address, or an IPv6 address in brackets.
pub(super) const ALLOWED_HOST: &str = r"^([A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])$";
/// A condition's reason or type, in the form the API machinery asks for.
pub(super) const CAMEL_WORD: &str = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$";

/// Whether texts of this pattern stand in messages: then they hold no separators of lines and no marks of
/// the direction of writing either, for which the patterns of all who read a schema have no common word.
pub(super) fn stands_in_messages(pattern: &str) -> bool {
    pattern == JSON_POINTER || pattern == OPERATION_PATH
}

/// What a pattern means, for people.
pub(super) fn explain(pattern: &str) -> Option<&'static str> {
    Some(match pattern {
        OBJECT_NAME => "must be a name of an object: lower-case letters, digits, `-` and `.`",
        SECRET_KEY => "must be a key of a Secret: letters, digits, `-`, `_` and `.`",
        HTTP_TOKEN => "must be a header name: letters, digits and `-`, without blanks or colons",
        HEADER_VALUE => "must be one line: no CR, LF or NUL",
        ACTION => "must be letters, digits and `.`, `_`, `:`, `/`, `-`",
        VISIBLE_ASCII => "must be visible ASCII without blanks",
        PRINTABLE_ASCII => "must be ASCII on one line",
        SCOPE => "must be one scope without blanks, quotes and backslashes; give several as a list",
        JSON_POINTER => "must be a JSON Pointer such as `/data/token`, without control characters",
        OPERATION_PATH => "must begin with `/` and hold neither blanks, control characters nor `#`",
        RECEIVER_PATH => {
            "must begin with `/`, hold no empty part and no query, and only letters, digits and `._~!$&'()*+,;=:@-`"
        }
        FALLBACK_URL => {
            "must be an absolute http or https URL without user info, fragment and white space, and `{id}` only in its path or query"
        }
        PRESET => "must be the name of a preset: lower-case letters, digits and `-`",
        PARAMETER_NAME => "must be a letter followed by letters, digits, `_` and `-`",
        HOST => "must be a host name without scheme, port and path",
        ALLOWED_HOST => "must be a host without scheme, port and path; an IPv6 address stands in brackets",
        super::Duration::PATTERN => "must be a duration such as 90s, 15m or 1h30m (h, m, s, ms)",
        _ => return None,
    })
}

/// An absolute http or https URL without user info, fragment or white space.
pub(super) const URL_RULE: &str =
    "isURL(self) && self.matches('^https?://[^/?#@[:space:]]+([/?][^#[:space:]]*)?$')";
/// What to do when [`URL_RULE`] is broken.
pub(super) const URL_MESSAGE: &str =
    "must be an absolute http or https URL without user info, fragment and white space";
/// Names of headers are unique without regard to case (RFC 9110, section 5.1).
pub(super) const UNIQUE_HEADERS_RULE: &str =
    "self.all(h, self.exists_one(o, o.name.lowerAscii() == h.name.lowerAscii()))";
/// What to do when [`UNIQUE_HEADERS_RULE`] is broken.
pub(super) const UNIQUE_HEADERS_MESSAGE: &str =
    "two headers have the same name; upper and lower case make no difference";
/// Names and values of a list of [`super::NamedValue`] can stand in headers.
pub(super) const HEADERS_RULE: &str = r"self.all(h, h.name.matches('^[!#$%&\'*+.^_`|~0-9A-Za-z-]+$') && (!has(h.value) || h.value.matches('^[^\\r\\n\\x00]*$')))";
/// What to do when [`HEADERS_RULE`] is broken.
pub(super) const HEADERS_MESSAGE: &str =
    "names must be header names without blanks and colons, values must be one line";
/// Exactly one of the ways to give a value.
pub(super) const SOURCED_RULE: &str = "[has(self.value), has(self.valueFrom)].filter(x, x).size() == 1";
/// What to do when [`SOURCED_RULE`] is broken.
pub(super) const SOURCED_MESSAGE: &str = "give exactly one of value and valueFrom";
/// Networks in CIDR form without bits of a host.
pub(super) const RANGES_RULE: &str = "self.all(r, isCIDR(r) && cidr(r) == cidr(r).masked())";
/// What to do when [`RANGES_RULE`] is broken.
pub(super) const RANGES_MESSAGE: &str =
    "must be networks such as 203.0.113.0/24 or 2001:db8::/32, with no bits set after the prefix";
/// Exactly one kind of verification.
pub(super) const VERIFICATION_RULE: &str = "[has(self.token), has(self.apiKey), has(self.basic), has(self.hmac), has(self.standardWebhooks), has(self.none)].filter(x, x).size() == 1";
/// What to do when [`VERIFICATION_RULE`] is broken.
pub(super) const VERIFICATION_MESSAGE: &str =
    "give exactly one of token, apiKey, basic, hmac, standardWebhooks, none; `none: {}` verifies nothing";
/// Where accepted tokens come from.
pub(super) const TOKENS_RULE: &str = "[has(self.tokenSourceRef), has(self.secretKeyRefs) && self.secretKeyRefs.size() > 0].filter(x, x).size() == 1";
/// What to do when [`TOKENS_RULE`] is broken.
pub(super) const TOKENS_MESSAGE: &str = "give exactly one of tokenSourceRef and secretKeyRefs";
/// At most one way to name an event.
pub(super) const DUPLICATES_RULE: &str = "!(has(self.key) && self.key.size() > 0 && has(self.header))";
/// What to do when [`DUPLICATES_RULE`] is broken.
pub(super) const DUPLICATES_MESSAGE: &str = "give at most one of key and header";
/// Exactly one kind of token source.
pub(super) const SOURCE_RULE: &str =
    "[has(self.oauth2), has(self.http), has(self.serviceAccount), has(self.secret)].filter(x, x).size() == 1";
/// What to do when [`SOURCE_RULE`] is broken.
pub(super) const SOURCE_MESSAGE: &str = "give exactly one of oauth2, http, serviceAccount, secret";
/// A duration that is longer than nothing.
pub(super) const POSITIVE_RULE: &str = "self.matches('[1-9]')";
/// What to do when [`POSITIVE_RULE`] is broken.
pub(super) const POSITIVE_MESSAGE: &str = "must be longer than zero";

/// How long one request may take: whoever waits for an answer holds a place that others wait for.
pub(super) const TIMEOUT_RULE: &str = "duration(self) > duration('0s') && duration(self) <= duration('1m')";
/// What to do when [`TIMEOUT_RULE`] is broken.
pub(super) const TIMEOUT_MESSAGE: &str = "must be longer than zero and at most 1m";

/// How often something is looked at that costs requests, or never.
pub(super) const INTERVAL_RULE: &str = "duration(self) == duration('0s') || duration(self) >= duration('1m')";
/// What to do when [`INTERVAL_RULE`] is broken.
pub(super) const INTERVAL_MESSAGE: &str = "must be 1m or longer, or 0s for never";

/// A map of texts: at most `ENTRIES` of them, their names and values at most so many characters.
///
/// Names of a map cannot be bounded by a structural schema, so a rule does it; a pattern over them
/// would count as a pattern over the largest request and be over budget.
pub(super) fn text_map<const ENTRIES: usize, const NAME: usize, const VALUE: usize>(
    _: &mut SchemaGenerator,
) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": ENTRIES,
        "additionalProperties": { "type": "string", "maxLength": VALUE },
        "x-kubernetes-validations": [{
            "rule": format!("self.all(k, k.size() > 0 && k.size() <= {NAME})"),
            "message": format!("names must have 1 to {NAME} characters"),
        }],
    })
}

/// Any JSON; what it may be is checked beside the schema.
pub(super) fn any_json(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// A word of an open set: an older definition must not refuse what a newer process writes.
pub(super) fn camel_word(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": CAMEL_WORD })
}
