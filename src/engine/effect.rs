//! What follows from an event, for the loop to carry out.
//!
//! An effect owns all that it needs. What it brings comes back as an
//! [`Event::Ended`](super::event::Event), except for what cannot fail and is not waited for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::ids::{ProviderId, SourceId, SubscriptionId, Ticket};
use super::ports::{Document, Gauges, Notice, Offered, ProviderClient};
use super::reading::Paused;
use super::sent::{Applying, Creating, Decided};
use super::write::Write;
use crate::api::{ObjectKey, Reason, TokenSourceSpec, WebhookSubscriptionSpec};
use crate::rotation::time::Moment;
use crate::shares::NamespaceId;

/// Something that the loop is to do.
pub(crate) enum Effect {
    /// Begin a call. What comes of it comes back with the ticket.
    Begin(Ticket, Call),
    /// The credential of this provider is not needed any more.
    ForgetCredential(Arc<dyn ProviderClient>),
    /// Those that prove deliveries are told which tokens subscriptions still carry.
    Carried { source: ObjectKey, fingerprints: BTreeSet<Arc<str>> },
    /// People are told.
    Emit(Notice),
    /// The metrics are told.
    Count(Count),
    /// Everything that was handed over before has been taken in.
    Answer(Arc<Notify>),
}

/// Something that takes time, and may fail.
pub(crate) enum Call {
    /// Replace a remote subscription's document.
    Update {
        id: SubscriptionId,
        client: Arc<dyn ProviderClient>,
        document: Box<Document>,
        applying: Applying,
        decided: Box<Decided>,
        /// The longest that its answer is waited for, where a lost one would cost the token's life.
        patience: Option<Duration>,
        started: Moment,
    },
    /// Create a remote subscription.
    Create {
        id: SubscriptionId,
        client: Arc<dyn ProviderClient>,
        document: Box<Document>,
        creating: Creating,
        decided: Box<Decided>,
        started: Moment,
    },
    /// Delete a remote subscription.
    Delete {
        id: SubscriptionId,
        client: Arc<dyn ProviderClient>,
        spec: Box<WebhookSubscriptionSpec>,
        remote_id: String,
        term: Option<u64>,
        started: Moment,
    },
    /// Ask for the next page of a listing.
    List {
        id: ProviderId,
        client: Arc<dyn ProviderClient>,
        paused: Box<Paused>,
        term: Option<u64>,
        started: Moment,
    },
    /// Obtain a token.
    Mint {
        id: SourceId,
        namespace: Arc<str>,
        spec: Arc<TokenSourceSpec>,
        term: Option<u64>,
        /// The longest that its answer is waited for.
        patience: Option<Duration>,
        started: Moment,
    },
    /// Hand a token to those that prove deliveries with it.
    Offer { id: SourceId, key: ObjectKey, offered: Offered },
    /// Write something, or read what is not a provider's or a token server's. It has a place of the
    /// namespace, which is given back when it has ended.
    Write {
        namespace: NamespaceId,
        /// Another process may have written since it was decided on: it fails, and nothing is written.
        is_superseded: bool,
        write: Write,
    },
}

/// Something that the metrics count.
pub(crate) enum Count {
    /// A rotation came to an end. `lead` is the life left in the old token, in seconds.
    Rotation { provider: ObjectKey, outcome: Reason, lead: Option<f64> },
    /// A mint came to an end.
    Mint { class: &'static str, took: Duration },
    /// A request to a provider came to an end.
    ProviderRequest { operation: &'static str, class: &'static str, took: Duration },
    /// Nothing is counted for a provider any more.
    ProviderGone(ObjectKey),
    /// A token was applied although a gate had not taken it in.
    GateBehind,
    /// The state of everything.
    Gauges(Box<Gauges>),
}
