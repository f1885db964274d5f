//! Reads what a provider holds, one page at a time.

use std::sync::Arc;

use serde_json::{Number, Value};
use url::Url;

use super::aside::aside;
use super::connection::{Connection, echoed, failure, without};
use super::link::next_link;
use super::list_operation::{Fields, ListOperation, Pagination};
use super::pointer::{Answered, read_id};
use super::render::Scope;
use crate::engine::ports::{After, CallFailure, CallFence, Listing, Reading, RemoteSubscription};
use crate::http::Body;

/// No Content (RFC 9110, section 15.3.5).
const NO_CONTENT: u16 = 204;

/// What to do about a list that is not there when it is empty.
const LEFT_OUT: &str =
    "if the provider leaves the list out when it is empty, set operations.list.itemsOptional: true";

/// Reads the next page. Nothing is taken in of one that failed.
pub(super) async fn next_page(
    connection: &Connection,
    reading: &mut Reading,
    fence: &CallFence,
) -> Result<Option<Listing>, CallFailure> {
    let list = connection.provider.list.as_ref();
    let list = list.ok_or_else(|| without("list"))?;
    let page = reading.page();
    let counts = matches!(list.pagination, Pagination::PageNumber { .. } | Pagination::UntilEmpty);
    let scope = Scope { page: counts.then_some(page), ..Scope::default() };
    let url = match reading.link() {
        Some(url) => url.clone(),
        None => connection.url(&list.request, &scope)?,
    };
    let answer = match connection.call_at(&list.request, url.clone(), &scope, fence).await {
        // There are APIs that answer like this for the page after the last one.
        Err(CallFailure::Status { code: 404 | 410, .. }) if page > 1 => {
            return reading.take_in(Vec::new(), After::Nothing);
        }
        answer => answer?,
    };
    if answer.status == NO_CONTENT {
        if page > 1 || list.items_optional {
            return reading.take_in(Vec::new(), After::Nothing);
        }
        return Err(unreadable(format!("the answer to list is empty ({NO_CONTENT}); {LEFT_OUT}")));
    }
    let body = answer.body.map_err(failure)?;
    reading.arrived(body.len())?;
    let page =
        Page { list: Arc::clone(list), body, link: answer.link, url, sent: Arc::clone(&connection.sent) };
    // Reading takes as long as the page is large, and putting in order as what was read before.
    let effort = page.body.len() + reading.shown();
    let read = std::mem::take(reading);
    let (read, result) = aside(effort, move || page.take_in(read)).await;
    *reading = read;
    result
}

/// A page as it was answered.
struct Page {
    list: Arc<ListOperation>,
    body: Body,
    /// Its `Link` header.
    link: Option<String>,
    /// Where it is.
    url: Url,
    /// What was sent to the provider, and must not come back as an id.
    sent: Arc<super::echo::Sent>,
}

impl Page {
    fn take_in(self, mut reading: Reading) -> (Reading, Result<Option<Listing>, CallFailure>) {
        let read = self.read(reading.page());
        let result = read.and_then(|(items, after)| reading.take_in(items, after));
        (reading, result)
    }

    /// What it shows, and what comes after it.
    fn read(self, page: u32) -> Result<(Vec<RemoteSubscription>, After), CallFailure> {
        let list = &*self.list;
        let answered = Answered::read(&self.body)
            .ok_or_else(|| unreadable("the answer to list is no JSON, or holds too many values"))?;
        let items = read_items(list, answered.value())?;
        let after = match &list.pagination {
            Pagination::None => After::Nothing,
            Pagination::UntilEmpty if items.is_empty() => After::Nothing,
            Pagination::UntilEmpty => After::Page,
            Pagination::PageNumber { total_pages } => {
                let total = total_pages.find(answered.value()).filter(|total| !total.is_null());
                match total.and_then(read_count) {
                    Some(total) if u64::from(page) < total => After::Page,
                    Some(_) => After::Nothing,
                    // Nothing has no pages.
                    None if total.is_none() && items.is_empty() => After::Nothing,
                    None => {
                        let at = total_pages.as_str();
                        return Err(unreadable(format!("no number of pages at {at:?} of the list")));
                    }
                }
            }
            Pagination::LinkHeader => {
                linked_page(self.link.as_deref(), &self.url)?.map_or(After::Nothing, After::Link)
            }
        };
        let items = items.iter().map(|item| read_item(&list.fields, item));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        if items.iter().any(|item| self.sent.is_in(&item.id)) {
            return Err(unreadable(echoed(list.fields.id.as_str(), "a listed subscription")));
        }
        Ok((items, after))
    }
}

/// The page that the answer links to. It gets our credential, so it must be at the same origin.
fn linked_page(links: Option<&str>, current: &Url) -> Result<Option<Url>, CallFailure> {
    let Some(target) = links.and_then(next_link) else {
        return Ok(None);
    };
    let next = current.join(target).map_err(|_| unreadable("the link to the next page is no URL"))?;
    let has_credential = !next.username().is_empty() || next.password().is_some();
    if next.origin() != current.origin() || has_credential {
        return Err(unreadable("the link to the next page leads to another origin"));
    }
    Ok(Some(next))
}

/// The listed items. `null` is an empty list; where it is said so, a list that is left out is one.
fn read_items<'a>(list: &ListOperation, answered: &'a Value) -> Result<&'a [Value], CallFailure> {
    match list.items.find(answered) {
        Some(Value::Array(items)) => Ok(items),
        Some(Value::Null) => Ok(&[]),
        None if list.items_optional => Ok(&[]),
        None => {
            Err(unreadable(format!("no list at {:?} of the answer to list; {LEFT_OUT}", list.items.as_str())))
        }
        Some(_) => Err(unreadable(format!("no list at {:?} of the answer to list", list.items.as_str()))),
    }
}

fn read_item(fields: &Fields, item: &Value) -> Result<RemoteSubscription, CallFailure> {
    let id = fields.id.find(item).and_then(read_id);
    let id = id.ok_or_else(|| {
        unreadable(format!("no usable id at {:?} of a listed subscription", fields.id.as_str()))
    })?;
    let text = |pointer: &super::pointer::Pointer| Some(pointer.find(item)?.as_str()?.to_owned());
    let active = fields.active.as_ref().and_then(|(pointer, equals)| {
        let value = pointer.find(item)?;
        let Some(equals) = equals else {
            return value.as_bool();
        };
        match value {
            Value::String(text) => Some(text == equals),
            Value::Bool(flag) => Some(equals.parse() == Ok(*flag)),
            Value::Number(number) => Some(equals.parse::<Number>().is_ok_and(|wanted| *number == wanted)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    });
    Ok(RemoteSubscription {
        id,
        action: fields.action.as_ref().and_then(text),
        // One that shows none where others do is not one of which it is not known.
        postback_url: fields.postback_url.as_ref().map(|pointer| text(pointer).unwrap_or_default()),
        active,
    })
}

/// A count: a whole number, or a text of one.
fn read_count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn unreadable(what: impl Into<String>) -> CallFailure {
    CallFailure::Unreadable { what: what.into() }
}
