//! The part of a schema that looks at one value: type, bounds, pattern, known and required fields.

use std::collections::HashMap;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::Problem;
use crate::api::{crd, schema};
use crate::printable::is_active;

/// More than a person reads; a larger list says no more.
const MOST_PROBLEMS: usize = 32;

/// Compares a value with a schema and collects what differs.
///
/// Of an object, a member that is null counts as left out, as for the API server.
pub(super) fn check(schema: &Value, value: &Value, path: &str, problems: &mut Vec<Problem>) {
    if problems.len() >= MOST_PROBLEMS || preserves_unknown(schema) {
        return;
    }
    let wanted = text(schema, "type").unwrap_or("object");
    match (wanted, value) {
        ("object", Value::Object(members)) => object(schema, members, path, problems),
        ("array", Value::Array(items)) => array(schema, items, path, problems),
        ("string", Value::String(value)) => string(schema, value, path, problems),
        ("integer", Value::Number(number)) if number.is_i64() => {
            integer(schema, number.as_i64().unwrap_or_default(), path, problems);
        }
        ("boolean", Value::Bool(_)) => {}
        (wanted, value) => problems
            .push(Problem::new(path, format!("must be {}, not {}", with_article(wanted), name_of(value)))),
    }
}

/// A copy in which members of objects that are null are left out, where the schema knows them.
pub(super) fn without_nulls(schema: &Value, value: &Value) -> Value {
    if preserves_unknown(schema) {
        return value.clone();
    }
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .filter(|(_, member)| !member.is_null())
                .map(|(name, member)| {
                    let child = property(schema, name).unwrap_or(&Value::Null);
                    (name.clone(), without_nulls(child, member))
                })
                .collect(),
        ),
        Value::Array(items) => {
            let child = schema.get("items").unwrap_or(&Value::Null);
            Value::Array(items.iter().map(|item| without_nulls(child, item)).collect())
        }
        other => other.clone(),
    }
}

fn object(schema: &Value, members: &Map<String, Value>, path: &str, problems: &mut Vec<Problem>) {
    bound(schema, "maxProperties", members.len(), |most| {
        problems.push(Problem::new(path, format!("has too many entries, at most {most} are allowed")));
    });
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if members.get(name).is_none_or(Value::is_null) {
            problems.push(Problem::new(format!("{path}.{name}"), "is required"));
        }
    }
    for (name, member) in members {
        let path = format!("{path}.{}", readable(name));
        match property(schema, name) {
            None => problems.push(Problem::new(path, unknown(schema))),
            Some(_) if member.is_null() => {}
            Some(child) => check(child, member, &path, problems),
        }
        if problems.len() >= MOST_PROBLEMS {
            return;
        }
    }
}

fn array(schema: &Value, items: &[Value], path: &str, problems: &mut Vec<Problem>) {
    bound(schema, "maxItems", items.len(), |most| {
        problems.push(Problem::new(path, format!("has too many entries, at most {most} are allowed")));
    });
    if number(schema, "minItems").is_some_and(|least| items.len() < least) {
        problems.push(Problem::new(path, "needs at least one entry"));
    }
    let Some(child) = schema.get("items") else {
        return;
    };
    for (index, item) in items.iter().enumerate() {
        check(child, item, &format!("{path}[{index}]"), problems);
        if problems.len() >= MOST_PROBLEMS {
            return;
        }
    }
    unique_keys(schema, items, path, problems);
}

/// Entries of a list that is a map are told apart by their keys, those of a set by themselves.
fn unique_keys(schema: &Value, items: &[Value], path: &str, problems: &mut Vec<Problem>) {
    match text(schema, "x-kubernetes-list-type") {
        Some("map") => {}
        Some("set") => return unique_texts(items, path, problems),
        _ => return,
    }
    let keys: Vec<&str> = schema
        .get("x-kubernetes-list-map-keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut seen = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        let identity: Vec<Option<&str>> =
            keys.iter().map(|key| item.get(key).and_then(Value::as_str)).collect();
        if let Some(first) = seen.insert(identity, index) {
            let field = match keys.as_slice() {
                [key] => format!("{path}[{index}].{key}"),
                _ => format!("{path}[{index}]"),
            };
            problems.push(Problem::new(field, format!("is the same as in entry [{first}]")));
        }
    }
}

fn unique_texts(items: &[Value], path: &str, problems: &mut Vec<Problem>) {
    let mut seen = HashMap::new();
    for (index, text) in items.iter().enumerate().filter_map(|(index, item)| Some((index, item.as_str()?))) {
        if let Some(first) = seen.insert(text, index) {
            problems
                .push(Problem::new(format!("{path}[{index}]"), format!("is the same as in entry [{first}]")));
        }
    }
}

fn string(schema: &Value, value: &str, path: &str, problems: &mut Vec<Problem>) {
    let length = value.chars().count();
    if number(schema, "minLength").is_some_and(|least| length < least) {
        problems.push(Problem::new(path, "must not be empty"));
        return;
    }
    let mut too_long = false;
    bound(schema, "maxLength", length, |most| {
        too_long = true;
        problems.push(Problem::new(path, format!("has {length} characters, at most {most} are allowed")));
    });
    if too_long {
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.iter().any(|one| one.as_str() == Some(value))
    {
        let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        problems.push(Problem::new(path, format!("must be one of {}", allowed.join(", "))));
    }
    if let Some(pattern) = text(schema, "pattern")
        && (!compiled(pattern).is_some_and(|pattern| pattern.is_match(value))
            || (schema::stands_in_messages(pattern) && value.chars().any(is_active)))
    {
        let problem =
            schema::explain(pattern).map_or_else(|| format!("must match {pattern}"), ToOwned::to_owned);
        problems.push(Problem::new(path, problem));
    }
    if text(schema, "format") == Some("date-time") && chrono::DateTime::parse_from_rfc3339(value).is_err() {
        problems.push(Problem::new(path, "must be a time such as 2026-11-21T17:00:02Z (RFC 3339)"));
    }
}

fn integer(schema: &Value, value: i64, path: &str, problems: &mut Vec<Problem>) {
    let of_format = if text(schema, "format") == Some("int32") {
        (i64::from(i32::MIN), i64::from(i32::MAX))
    } else {
        (i64::MIN, i64::MAX)
    };
    let least = limit(schema, "minimum").unwrap_or(of_format.0);
    let most = limit(schema, "maximum").unwrap_or(of_format.1);
    if !(least..=most).contains(&value) {
        problems.push(Problem::new(path, format!("must be {least} to {most}")));
    }
}

/// A limit of the schema; the derive's serialisation may write it as a float.
fn limit(schema: &Value, keyword: &str) -> Option<i64> {
    let limit = schema.get(keyword)?;
    limit.as_i64().or_else(|| {
        // Limits are small whole numbers, so their text form is exact.
        limit.as_f64().and_then(|limit| format!("{limit:.0}").parse().ok())
    })
}

fn property<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema
        .get("properties")
        .and_then(|properties| properties.get(name))
        .or_else(|| schema.get("additionalProperties"))
}

fn unknown(schema: &Value) -> String {
    let known: Vec<&str> = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect();
    if known.is_empty() {
        "is not known here; nothing can be said inside this field".to_owned()
    } else {
        format!("is not known here; known are {}", known.join(", "))
    }
}

fn preserves_unknown(schema: &Value) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields").and_then(Value::as_bool) == Some(true)
}

fn bound(schema: &Value, keyword: &str, actual: usize, exceeded: impl FnOnce(usize)) {
    if let Some(most) = number(schema, keyword)
        && actual > most
    {
        exceeded(most);
    }
}

fn number(schema: &Value, keyword: &str) -> Option<usize> {
    schema.get(keyword).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok())
}

fn text<'a>(schema: &'a Value, keyword: &str) -> Option<&'a str> {
    schema.get(keyword).and_then(Value::as_str)
}

/// The patterns of all schemas, each compiled once.
fn compiled(pattern: &str) -> Option<&'static Regex> {
    static PATTERNS: OnceLock<HashMap<String, Regex>> = OnceLock::new();
    PATTERNS
        .get_or_init(|| {
            let mut patterns = HashMap::new();
            for kind in crd::KINDS {
                collect_patterns(crd::schema(kind), &mut patterns);
            }
            patterns
        })
        .get(pattern)
}

fn collect_patterns(node: &Value, patterns: &mut HashMap<String, Regex>) {
    if let Some(pattern) = text(node, "pattern")
        && !patterns.contains_key(pattern)
        && let Ok(regex) = Regex::new(pattern)
    {
        patterns.insert(pattern.to_owned(), regex);
    }
    match node {
        Value::Object(members) => members.values().for_each(|member| collect_patterns(member, patterns)),
        Value::Array(items) => items.iter().for_each(|item| collect_patterns(item, patterns)),
        _ => {}
    }
}

/// A name as it may stand in a message: a name can be as long as the document.
pub(crate) fn readable(name: &str) -> String {
    let mut readable: String = name
        .chars()
        .take(64)
        .map(|character| if is_active(character) { '\u{fffd}' } else { character })
        .collect();
    if name.chars().count() > 64 {
        readable.push('…');
    }
    readable
}

fn with_article(kind: &str) -> &'static str {
    match kind {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "a text (put it in quotes)",
        "integer" => "a whole number",
        "boolean" => "true or false",
        _ => "something else",
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
