//! What a request to a provider takes while it is under way.

use std::sync::Arc;

use super::origin::OriginTurn;
use crate::engine::ids::ProviderId;
use crate::shares::NamespaceId;

/// What the turn of one namespace at one origin was given for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    pub(crate) origin: &'a str,
    pub(crate) turn: &'a OriginTurn,
}

/// What one request to a provider takes while it is under way: a worker, a place of its namespace at the
/// origin, and one of the provider's own unless it asks for a page. Whoever has it gives it back, once.
#[derive(Debug)]
#[must_use]
pub(crate) struct CallPlace {
    pub(crate) origin: Arc<str>,
    pub(crate) namespace: NamespaceId,
    pub(crate) provider: ProviderId,
    pub(crate) is_page: bool,
}
