//! The request that lists: its pages, and the fields of what is listed.

use super::field::Field;
use super::operation::{Context, Operation};
use super::placeholder::Source;
use super::pointer::Pointer;
use crate::api::{self, ListFields};
use crate::engine::ports::Invalid;
use crate::rotation::answers::Operation as Role;

/// The request that lists all subscriptions.
pub(super) struct ListOperation {
    pub(super) request: Operation,
    pub(super) items: Pointer,
    /// Whether an empty list may be left out.
    pub(super) items_optional: bool,
    pub(super) pagination: Pagination,
    pub(super) fields: Fields,
}

/// How a listing of several pages is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pagination {
    PageNumber { total_pages: Pointer },
    UntilEmpty,
    LinkHeader,
    None,
}

/// Where the fields of a listed subscription are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) id: Pointer,
    pub(super) action: Option<Pointer>,
    pub(super) postback_url: Option<Pointer>,
    pub(super) active: Option<(Pointer, Option<String>)>,
}

impl ListOperation {
    /// Checks the request that lists.
    pub(super) fn parse(written: &api::Operation, context: &Context<'_>) -> Result<Self, Invalid> {
        let field = Role::List.field();
        let request = Operation::parse(written, Role::List, context)?;
        let pagination = parse_pagination(written, &field.child("pagination"))?;
        let counts = matches!(pagination, Pagination::PageNumber { .. } | Pagination::UntilEmpty);
        match (counts, request.sources().contains(&Source::Page)) {
            (true, false) => Err(field
                .child("path")
                .invalid("the pages are counted, so {page} must stand in the path or document")),
            (false, true) => Err(field
                .child("path")
                .invalid("{page} is known only where pagination is pageNumber or untilEmpty")),
            _ => Ok(()),
        }?;
        let Some(fields) = &written.fields else {
            return Err(field.child("fields").invalid("say at least where the id stands, such as {id: /id}"));
        };
        Ok(Self {
            items: Pointer::parse(written.items.as_deref().unwrap_or_default(), &field.child("items"))?,
            items_optional: written.items_optional.unwrap_or(false),
            fields: parse_fields(fields, &field.child("fields"))?,
            pagination,
            request,
        })
    }
}

fn parse_pagination(written: &api::Operation, field: &Field) -> Result<Pagination, Invalid> {
    let given = written.pagination.clone().unwrap_or_default();
    let one = [
        given.page_number.is_some(),
        given.until_empty.is_some(),
        given.link_header.is_some(),
        given.none.is_some(),
    ];
    if one.into_iter().filter(|given| *given).count() != 1 {
        return Err(field.invalid("set exactly one of pageNumber, untilEmpty, linkHeader and none"));
    }
    if let Some(page_number) = given.page_number {
        let field = field.child("pageNumber").child("totalPages");
        let total_pages = Pointer::parse(&page_number.total_pages, &field)?;
        Ok(Pagination::PageNumber { total_pages })
    } else if given.until_empty.is_some() {
        Ok(Pagination::UntilEmpty)
    } else if given.link_header.is_some() {
        Ok(Pagination::LinkHeader)
    } else {
        Ok(Pagination::None)
    }
}

fn parse_fields(fields: &ListFields, field: &Field) -> Result<Fields, Invalid> {
    let optional = |pointer: &Option<String>, name| {
        let pointer = pointer.as_ref();
        pointer.map(|pointer| Pointer::parse(pointer, &field.child(name))).transpose()
    };
    let active = fields.active.as_ref().map(|active| {
        let pointer = Pointer::parse(&active.path, &field.child("active").child("path"))?;
        Ok((pointer, active.equals.clone()))
    });
    Ok(Fields {
        id: Pointer::parse(&fields.id, &field.child("id"))?,
        action: optional(&fields.action, "action")?,
        postback_url: optional(&fields.postback_url, "postbackUrl")?,
        active: active.transpose()?,
    })
}
