//! The engine's one function: what follows from an event.
//!
//! ```text
//!  event (change, answer, claim, time)
//!    └─▶ handle(state, event, now) ─▶ effects (start a call, write, tell, count)
//!          └─▶ the loop carries them out, and brings what comes of them back as events
//! ```
//!
//! It does not wait, reads no clock and does nothing outside. For each kind of event there is one
//! handler, in the module of what it is about; no handler calls another one. What several of them do
//! stands in functions below them, and what is to happen after them in the state: in the line of those
//! to be looked at, among the timers, in the queue of writes.

use std::time::Duration;

use super::calls::ending::{count_request, end_call, took};
use super::calls::failure::{fail, internal};
use super::calls::news::OriginNews;
use super::calls::outcome::{applied, created, deleted, overtaken};
use super::change::Change;
use super::dispatch::agenda::reconcile_soon;
use super::dispatch::writes::start_writes;
use super::effect::Effect;
use super::event::{About, Ended, Event, Report, Resolved};
use super::intake::evidence::evidence;
use super::intake::invalid::invalid;
use super::intake::leadership::{claim_changed, reconcile_freed, synced};
use super::intake::providers::{provider_gone, upsert_provider};
use super::intake::sources::{source_gone, upsert_source};
use super::intake::subscriptions::{subscription_gone, upsert_subscription};
use super::listings::comparing::secrets_compared;
use super::listings::listed::{listed, listing_broken};
use super::ports::{Invalid, Refusal};
use super::providers::account::{identified, learn_account};
use super::providers::begin::provider_alarm;
use super::providers::keeping::{credential_kept, keep_changed_providers, provider_finalizer_written};
use super::providers::status::provider_recorded;
use super::queue::timers::Alarm;
use super::reconcile::finalizer::finalizer_written;
use super::reconcile::letting_go::released;
use super::reconcile::persisted::recorded;
use super::reconcile::subscription::reconcile;
use super::sources::begin::source_alarm;
use super::sources::keep_alive::renewal_alarm;
use super::sources::mint::start_mints;
use super::sources::minted::{mint_broken, minted};
use super::sources::offered::{gates_alarm, gates_changed, not_offered, offered, tell_gates};
use super::sources::published::{published_read, published_written, publishing_broken};
use super::sources::status::source_recorded;
use super::state::State;
use super::subscriptions::rest::rest;
use super::turn::{Around, Turn};
use super::turns::{next_budget, start_calls};
use super::upkeep::clocks::watch_clocks;
use super::upkeep::gauges::report_gauges;
use super::upkeep::tidying::tidy;
use crate::api::Kind;
use crate::rotation::answers::Operation;
use crate::rotation::time::Moment;

/// How many waiting subscriptions are looked at, and how many alarms, before changes and answers are
/// looked after again.
const BATCH: usize = 256;

/// What follows from an event.
pub(crate) fn handle(state: &mut State, event: Event, now: Moment, around: Around<'_>) -> Vec<Effect> {
    let mut turn = Turn::new(state, now, around);
    let has_ended = matches!(event, Event::Ended(..));
    match event {
        Event::Claim(term) => claim_changed(&mut turn, term),
        Event::Change(change, resolved) => take_in(&mut turn, *change, resolved),
        Event::Ended(ticket, ended) => {
            if turn.state.under_way.close(ticket) {
                finish(&mut turn, *ended);
            }
        }
        Event::Time => time_passed(&mut turn),
        Event::Stop => turn.state.stopping = true,
    }
    while let Some(successor) = turn.successors.pop_front() {
        take_in(&mut turn, successor, None);
    }
    if has_ended && turn.state.stopping {
        // Running steps are brought to an end, and nothing else comes to do it.
        while let Some((_, _, id)) = turn.state.waiting.reconciles.next(|_| true) {
            reconcile(&mut turn, id);
        }
    }
    start_writes(&mut turn);
    turn.effects
}

/// How long nothing is to be done, unless something comes.
pub(crate) fn idle_for(state: &mut State, now: Moment) -> Duration {
    if !state.waiting.reconciles.is_empty() {
        return Duration::ZERO;
    }
    let tick = state.options.tick;
    let timer = state.timers.next().map_or(tick, |at| at.saturating_sub(now.boot));
    let budget = next_budget(state, now).map_or(tick, |at| at.saturating_sub(now.boot));
    // Whole milliseconds, and never none at all, so that waiting always makes progress.
    timer.min(budget).min(tick).max(Duration::from_millis(1))
}

fn take_in(turn: &mut Turn<'_>, change: Change, resolved: Option<Resolved>) {
    match change {
        Change::Subscription(declared) => upsert_subscription(turn, *declared),
        Change::TokenSource(declared) => upsert_source(turn, *declared),
        Change::Provider(declared) => {
            let resolved = resolved.unwrap_or_else(|| {
                let problem = "has not been checked; this is a fault in hookkeeper".to_owned();
                Err(Invalid { field: "spec".to_owned(), problem })
            });
            upsert_provider(turn, *declared, resolved);
        }
        Change::Invalid { kind, identity, problem, status } => {
            invalid(turn, kind, identity, &problem, status);
        }
        Change::Gone { kind: Kind::WebhookSubscription, key, prune } => subscription_gone(turn, &key, prune),
        Change::Gone { kind: Kind::TokenSource, key, .. } => source_gone(turn, &key),
        Change::Gone { kind: Kind::WebhookProvider, key, .. } => provider_gone(turn, &key),
        // The gate's.
        Change::Gone { kind: Kind::WebhookReceiver, .. } => {}
        Change::Evidence(seen) => evidence(turn, &seen),
        Change::Gates(source) => gates_changed(turn, &source),
        Change::Synced => synced(turn),
        Change::Mark(taken_in) => turn.begin(Effect::Answer(taken_in)),
    }
}

/// Everything whose time has come, and everything that waits and may begin.
fn time_passed(turn: &mut Turn<'_>) {
    let now = turn.now;
    watch_clocks(turn);
    if !turn.state.synced {
        return;
    }
    for _ in 0..BATCH {
        match turn.state.timers.pop_due(now.boot) {
            Some(Alarm::Subscription(id)) => {
                if let Some(entry) = turn.state.entry_mut(id) {
                    entry.timer = None;
                }
                reconcile_soon(turn, id);
            }
            Some(Alarm::Source(id)) => source_alarm(turn, id),
            Some(Alarm::Provider(id)) => provider_alarm(turn, id),
            Some(Alarm::Gates(id)) => gates_alarm(turn, id),
            Some(Alarm::Renewal(id)) => renewal_alarm(turn, id),
            None => break,
        }
    }
    for _ in 0..BATCH {
        let Some((_, _, id)) = turn.state.waiting.reconciles.next(|_| true) else {
            break;
        };
        reconcile(turn, id);
    }
    reconcile_freed(turn);
    tell_gates(turn);
    keep_changed_providers(turn);
    if !turn.state.stopping {
        start_mints(turn);
        start_calls(turn);
    }
    tidy(turn);
    report_gauges(turn);
}

/// A call or a write has ended.
fn finish(turn: &mut Turn<'_>, ended: Ended) {
    let Ended { about, report, wrote_for } = ended;
    if let Some(namespace) = wrote_for {
        turn.state.places.recorders.give_back(namespace);
    }
    let provider = match about {
        About::Call(id) => turn.state.entry(id).map(|entry| entry.provider),
        About::Listing(id) => Some(id),
        _ => None,
    };
    let is_refused = report.refusal() == Some(&Refusal::AccountChanged);
    if let Some(provider) = provider.filter(|_| !is_refused) {
        learn_account(turn, provider);
    }
    match (about, report) {
        (About::Subscription(id), Report::Recorded { status, then, result }) => {
            recorded(turn, id, &status, then, result);
        }
        (About::Call(id), Report::Applied { applying, decided, started, result }) => {
            count_request(turn, Operation::Update, &result, started);
            took(turn, id, &result, started);
            if turn.state.is_overtaken(id, &decided) {
                return overtaken(turn, id, Operation::Update, result);
            }
            applied(turn, id, &applying, result);
        }
        (About::Call(id), Report::Created { creating, decided, started, result }) => {
            count_request(turn, Operation::Create, &result, started);
            took(turn, id, &result, started);
            if turn.state.is_overtaken(id, &decided) {
                return overtaken(turn, id, Operation::Create, result);
            }
            created(turn, id, &creating, result);
        }
        (About::Call(id), Report::Deleted { id: remote, started, result }) => {
            count_request(turn, Operation::Delete, &result, started);
            deleted(turn, id, &remote, result);
        }
        (About::Subscription(id), Report::FinalizerWritten { wanted, result }) => {
            finalizer_written(turn, id, wanted, result);
        }
        (About::Subscription(id), Report::Released(result)) => released(turn, id, result),
        (About::Subscription(id), Report::Secrets(result)) => secrets_compared(turn, id, result),
        (About::Mint(id), Report::Minted { term, spec, started, result }) => {
            let outdated = term != turn.state.term || !turn.state.asks_like(id, &spec);
            minted(turn, id, outdated, started, result);
        }
        (About::Publishing(id), Report::PublishedRead { forgotten, result }) => {
            published_read(turn, id, forgotten, result);
        }
        (About::Publishing(id), Report::PublishedWritten { forgotten, tokens, result }) => {
            published_written(turn, id, forgotten, *tokens, result);
        }
        (About::Gates(id), Report::Offered { fingerprint, result }) => {
            offered(turn, id, &fingerprint, result);
        }
        (About::Listing(id), Report::Listed { started, paused, result }) => {
            listed(turn, id, started, *paused, result);
        }
        (_, Report::SourceRecorded { id, before, durable }) => source_recorded(turn, id, *before, durable),
        (_, Report::ProviderRecorded(id)) => provider_recorded(turn, id),
        (_, Report::CredentialKept(id)) => {
            learn_account(turn, id);
            credential_kept(turn.state, id);
        }
        (About::Account(id), Report::Identified) => identified(turn, id),
        (_, Report::ProviderFinalizerWritten { id, uid, wanted, result }) => {
            provider_finalizer_written(turn, id, &uid, wanted, &result);
        }
        (about, Report::Broken(broken)) => broke(turn, about, &broken.to_string()),
        (_, _) => {}
    }
}

/// A fault of our own stays with the object it happened to.
fn broke(turn: &mut Turn<'_>, about: About, what: &str) {
    tracing::error!(?about, "{what}");
    match about {
        About::Call(id) => {
            end_call(turn, id, Some(OriginNews::Unknown));
            // What the step had done is not known: an open creation record stays open.
            fail(turn, id, &internal(what), Operation::Update);
        }
        About::Subscription(id) => rest(turn, id),
        About::Mint(id) => mint_broken(turn, id, what),
        About::Publishing(id) => publishing_broken(turn, id, what),
        About::Gates(id) => not_offered(turn, id, what),
        About::Listing(id) => listing_broken(turn, id, what),
        About::Account(id) => identified(turn, id),
        About::Aside => {}
    }
}
