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
/// URL of the request that asks a platform for one id: braces stand for that alone.
pub(super) const FALLBACK_URL: &str =
    r"^https?://[^/?#@{}[:space:]]+([/?]([^#{}[:space:]\x00-\x1f\x7f-\x9f]|\{id\})*)?$";
/// Name of a Service, a label of the DNS (RFC 1123). Not written as [`PRESET`] is: a pattern has one
/// explanation.
pub(super) const SERVICE_NAME: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
/// Name of a preset of receivers, of which some are written in two words.
pub(super) const RECEIVER_PRESET: &str = "^[a-z][A-Za-z0-9]*$";
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
            "must be an absolute http or https URL without user info, fragment and white space; `{id}` may stand in its path and query, and there is no other placeholder (write %7B and %7D for braces)"
        }
        PRESET => "must be the name of a preset: lower-case letters, digits and `-`",
        RECEIVER_PRESET => "must be the name of a preset such as standardWebhooks: letters and digits",
        SERVICE_NAME => "must be the name of a Service: lower-case letters, digits and `-`, without dots",
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
pub(super) const TOKENS_RULE: &str =
    "[has(self.tokenSourceRef), has(self.secretKeyRefs)].filter(x, x).size() == 1";
/// What to do when [`TOKENS_RULE`] is broken.
pub(super) const TOKENS_MESSAGE: &str = "give exactly one of tokenSourceRef and secretKeyRefs";
/// At most one way to name an event.
pub(super) const DUPLICATES_RULE: &str = "!(has(self.key) && has(self.header))";
/// What to do when [`DUPLICATES_RULE`] is broken.
pub(super) const DUPLICATES_MESSAGE: &str = "give at most one of key and header";
/// Two events may have the same body, so a body alone drops nothing.
pub(super) const DROP_RULE: &str =
    "!has(self.action) || self.action != 'Drop' || has(self.key) || has(self.header)";
/// What to do when [`DROP_RULE`] is broken.
pub(super) const DROP_MESSAGE: &str =
    "Drop needs key or header, which name an event: two events may have the same body; or set action to Mark";
/// How long an event is remembered.
pub(super) const WINDOW_RULE: &str = "duration(self) > duration('0s') && duration(self) <= duration('168h')";
/// What to do when [`WINDOW_RULE`] is broken.
pub(super) const WINDOW_MESSAGE: &str = "must be longer than zero and at most 168h";
/// `Direct` keeps nothing, so nothing can be said of what is kept.
pub(super) const DIRECT_RULE: &str = "!has(self.mode) || self.mode != 'Direct' || !(has(self.retention) || has(self.forward.retry) || has(self.duplicates) || has(self.fallback) || has(self.maxPending) || has(self.maxParked))";
/// What to do when [`DIRECT_RULE`] is broken.
pub(super) const DIRECT_MESSAGE: &str = "mode Direct keeps nothing: leave out retention, forward.retry, duplicates, fallback, maxPending and maxParked, or set mode to Stored";
/// Other credentials have no time at which they were minted.
pub(super) const REVOKED_RULE: &str = "!has(self.revokedBefore) || (has(self.verification.token) && has(self.verification.token.tokenSourceRef))";
/// What to do when [`REVOKED_RULE`] is broken.
pub(super) const REVOKED_MESSAGE: &str = "revokedBefore is about the tokens of verification.token.tokenSourceRef; to revoke another credential, remove its entry from secretKeyRefs";
/// Parts that proxies and clients resolve on the way.
pub(super) const PATH_PARTS_RULE: &str = "!self.matches('/[.][.]?(/|$)')";
/// What to do when [`PATH_PARTS_RULE`] is broken.
pub(super) const PATH_PARTS_MESSAGE: &str =
    "must have no part `.` or `..`: clients and proxies resolve those before the gate sees the path";
/// Headers that HTTP itself, a proxy or hookkeeper writes; the list of [`super::WRITTEN_ON_THE_WAY`].
pub(super) const RECEIVED_HEADER_RULE: &str = "!self.lowerAscii().startsWith('hookkeeper-') && !(self.lowerAscii() in ['accept-encoding', 'connection', 'content-encoding', 'content-length', 'content-type', 'expect', 'forwarded', 'host', 'http2-settings', 'keep-alive', 'proxy-authenticate', 'proxy-authentication-info', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'via', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-proto', 'x-real-ip'])";
/// What to do when [`RECEIVED_HEADER_RULE`] is broken.
pub(super) const RECEIVED_HEADER_MESSAGE: &str = "names a header that HTTP itself, a proxy on the way or hookkeeper writes; name the header in which the platform sends it";
/// A test event is known by a place and what stands there.
pub(super) const TEST_EVENT_RULE: &str = "has(self.path) == has(self.equals)";
/// What to do when [`TEST_EVENT_RULE`] is broken.
pub(super) const TEST_EVENT_MESSAGE: &str =
    "give both path and equals, or neither where the preset gives them";
/// The first wait is not longer than the longest.
pub(super) const RETRY_RULE: &str =
    "!has(self.interval) || !has(self.maxInterval) || duration(self.interval) <= duration(self.maxInterval)";
/// What to do when [`RETRY_RULE`] is broken.
pub(super) const RETRY_MESSAGE: &str = "interval must not be longer than maxInterval";
/// What one application can stand.
pub(super) const RETRY_INTERVAL_RULE: &str =
    "duration(self) >= duration('100ms') && duration(self) <= duration('24h')";
/// What to do when [`RETRY_INTERVAL_RULE`] is broken.
pub(super) const RETRY_INTERVAL_MESSAGE: &str = "must be 100ms or longer, and at most 24h";
/// Who asks for an id says which.
pub(super) const ASKS_FOR_ID_RULE: &str =
    "self.url.contains('{id}') || (has(self.body) && self.body.contains('{id}'))";
/// What to do when [`ASKS_FOR_ID_RULE`] is broken.
pub(super) const ASKS_FOR_ID_MESSAGE: &str =
    "`{id}` must stand in url or in body: it is what the platform is asked for";
/// A token has one place.
pub(super) const ONE_AUTHORIZATION_RULE: &str = "!has(self.tokenSourceRef) || !has(self.headers) || !self.headers.exists(h, h.name.lowerAscii() == 'authorization')";
/// What to do when [`ONE_AUTHORIZATION_RULE`] is broken.
pub(super) const ONE_AUTHORIZATION_MESSAGE: &str =
    "tokenSourceRef sets the header Authorization; leave it out of headers, or leave tokenSourceRef out";
/// A body goes with a method that has one.
pub(super) const ASKING_BODY_RULE: &str = "!has(self.body) || (has(self.method) && self.method != 'GET')";
/// What to do when [`ASKING_BODY_RULE`] is broken.
pub(super) const ASKING_BODY_MESSAGE: &str = "a GET has no body; set method to POST, or leave body out";
/// What the receiver accepts is what the subscription sends.
pub(super) const RECEIVER_RULE: &str = "!has(self.receiverRef) || has(self.tokenSourceRef)";
/// What to do when [`RECEIVER_RULE`] is broken.
pub(super) const RECEIVER_MESSAGE: &str = "receiverRef needs tokenSourceRef: the receiver accepts the tokens that a TokenSource publishes, and nothing publishes those of tokenSource";
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
