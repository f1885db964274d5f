//! Reads everything a provider holds, page by page.
//!
//! Pages shift while they are read: what is deleted from the first page moves something from the
//! second to the first, and nobody sees it. So a listing of several requests is complete when two
//! passes in a row saw the same ids. One that took a single request is a single moment's picture,
//! which cannot shift, and is complete at once.

use std::collections::BTreeMap;

use serde_json::{Number, Value};
use url::Url;

use super::gateway::{Connection, failure, without};
use super::link::next_link;
use super::list_operation::{Fields, ListOperation, Pagination};
use super::pointer::{Answered, read_id};
use super::render::Scope;
use crate::engine::ports::{CallFailure, CallGuard, Listing, RemoteSubscription};

/// The most requests of one pass.
const MAX_PAGES: u32 = 1_000;
/// The most subscriptions of one pass.
const MAX_ITEMS: usize = 100_000;
/// The most passes.
const MAX_PASSES: usize = 4;

/// What one pass saw, by id, so that one that shifted onto two pages counts once.
type Pass = BTreeMap<String, RemoteSubscription>;

/// Reads all pages until the listing is complete.
pub(super) async fn complete(connection: &Connection, guard: &CallGuard) -> Result<Listing, CallFailure> {
    let list = connection.provider.list.as_ref();
    let list = list.ok_or_else(|| without("list"))?;
    let mut requests = 0;
    let mut before: Option<Pass> = None;
    for _ in 0..MAX_PASSES {
        let (pass, pages) = read_all(connection, list, guard).await?;
        requests += pages;
        let is_settled = before.is_some_and(|before| before.keys().eq(pass.keys()));
        if pages == 1 || is_settled {
            return Ok(Listing { subscriptions: pass.into_values().collect(), requests });
        }
        before = Some(pass);
    }
    Err(unreadable(format!("{MAX_PASSES} passes over the list never saw the same ids twice in a row")))
}

/// Reads all pages once; also says how many requests that took.
async fn read_all(
    connection: &Connection,
    list: &ListOperation,
    guard: &CallGuard,
) -> Result<(Pass, u32), CallFailure> {
    let mut pass = Pass::new();
    let mut linked: Option<Url> = None;
    for page in 1..=MAX_PAGES {
        let counts = matches!(list.pagination, Pagination::PageNumber { .. } | Pagination::UntilEmpty);
        let scope = Scope { page: counts.then_some(page), ..Scope::default() };
        let url = match linked.take() {
            Some(url) => url,
            None => connection.url(&list.request, &scope)?,
        };
        let answer = connection.call_at(&list.request, url.clone(), &scope, guard).await?;
        let links = answer.link;
        let body = answer.body.map_err(failure)?;
        let answered = Answered::read(&body)
            .ok_or_else(|| unreadable("the answer to list is no JSON, or holds too many values"))?;
        let items = read_items(list, answered.value())?;
        let count = items.len();
        for item in items {
            let subscription = read_item(&list.fields, item)?;
            pass.insert(subscription.id.clone(), subscription);
        }
        if pass.len() > MAX_ITEMS {
            return Err(unreadable(format!("the list has more than {MAX_ITEMS} subscriptions")));
        }
        let is_last = match &list.pagination {
            Pagination::None => true,
            Pagination::UntilEmpty => count == 0,
            Pagination::PageNumber { total_pages } => {
                let total = total_pages.find(answered.value()).and_then(read_count);
                let total = total.ok_or_else(|| {
                    unreadable(format!("no number of pages at {:?} of the list", total_pages.as_str()))
                })?;
                u64::from(page) >= total
            }
            Pagination::LinkHeader => {
                linked = linked_page(links.as_deref(), &url)?;
                linked.is_none()
            }
        };
        if is_last {
            return Ok((pass, page));
        }
    }
    Err(unreadable(format!("the list has more than {MAX_PAGES} pages")))
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

fn read_items<'a>(list: &ListOperation, answered: &'a Value) -> Result<&'a [Value], CallFailure> {
    let items = list.items.find(answered).and_then(Value::as_array);
    items
        .map(Vec::as_slice)
        .ok_or_else(|| unreadable(format!("no list at {:?} of the answer to list", list.items.as_str())))
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
        postback_url: fields.postback_url.as_ref().and_then(text),
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
