//! Which remote subscription is meant: the one on record, one that was found, or none.
//!
//! A provider's create is not idempotent, so "none" is only ever said after a complete listing, or
//! where no listing can be had and no create of ours is open. An open one may be what a crash has left:
//! see the table in [`super::status`].

use chrono::{DateTime, Utc};

use super::case::Case;
use super::facts::{Facts, ListingView, Memory, ProviderProfile, Subject};
use super::step::{Step, WaitReason, Why};
use super::target::{Recorded, Target, former};
use super::time::{Moment, add, not_ahead, written};
use super::unclaimed::Unclaimed;
use crate::api::{AdoptionPolicy, CreationRecord, ObjectKey, Ownership, Reason, WebhookSubscriptionSpec};

/// Rule 6: what is known of the remote subscription.
pub(super) enum Located {
    /// It is this one, to be rotated when rules 7 to 9 say so, or at once for a reason.
    Known { id: String, ownership: Ownership, why: Option<Why> },
    /// There is none like it.
    Absent { target: String },
    /// Something comes first.
    Unknown(Step),
}

/// What became of a create.
pub(super) enum Outcome<'a> {
    /// It took effect.
    Found(String),
    /// It did not.
    Nothing,
    /// More than one remote subscription could be it.
    Several(Unclaimed<'a>),
    /// A listing begun at this time or later is needed.
    NeedsListing(DateTime<Utc>),
    /// The provider may still be about to show it.
    Settling(DateTime<Utc>),
    /// The provider cannot be asked.
    CannotKnow,
}

/// Rule 6.
pub(super) fn locate(case: &Case<'_>, list_unavailable: bool) -> Located {
    let (spec, status) = (case.spec, case.subject.status);
    if let Some(given) = &spec.webhook_id {
        return given_id(case, given);
    }
    if let Some(id) = &status.webhook_id {
        return match status.missing_since {
            Some(since) => missing(case, id, since, list_unavailable),
            None => Located::Known {
                id: id.clone(),
                ownership: status.ownership.unwrap_or(Ownership::Created),
                why: None,
            },
        };
    }
    if let Some(record) = &status.creation {
        return open_creation(case, record, list_unavailable);
    }
    find(case, list_unavailable, case.memory.listing_after)
}

fn given_id(case: &Case<'_>, given: &str) -> Located {
    let status = case.subject.status;
    if status.webhook_id.as_deref() != Some(given) {
        if case.memory.not_there.as_deref() == Some(given) {
            return Located::Unknown(case.wait(None, missing_reason(given)));
        }
        if let Some(owner) = case.facts.owner_of.owner(given) {
            return Located::Unknown(
                case.wait(None, WaitReason::Conflict(case.claimant(owner), Some(given.to_owned()))),
            );
        }
        return Located::Known {
            id: given.to_owned(),
            ownership: Ownership::Adopted,
            why: Some(Why::Adopting),
        };
    }
    let ownership = status.ownership.unwrap_or(Ownership::Adopted);
    let mut why = None;
    if let Some(since) = status.missing_since {
        if !shows(case.facts.listing, given, case.not_ahead(since)) {
            return Located::Unknown(case.wait(None, missing_reason(given)));
        }
        why = Some(Why::Absent);
    }
    Located::Known { id: given.to_owned(), ownership, why }
}

fn missing_reason(id: &str) -> WaitReason {
    let message = format!(
        "the provider no longer has webhook {id}; set spec.webhookId to the id of an existing one, or remove it to have \
         one created"
    );
    WaitReason::Stalled(Reason::RemoteMissing, message)
}

fn shows(listing: Option<&ListingView>, id: &str, since: DateTime<Utc>) -> bool {
    listing.is_some_and(|listing| listing.begun >= since && listing.remotes.contains(id))
}

/// An update was answered with "no such subscription".
fn missing(case: &Case<'_>, id: &str, missing_since: DateTime<Utc>, list_unavailable: bool) -> Located {
    let status = case.subject.status;
    let since = case.not_ahead(missing_since);
    // A create may have taken effect: whatever else is done, that is found out first.
    if let Some(record) = &status.creation {
        let located = open_creation(case, record, list_unavailable);
        if case.spec.recreates() || !matches!(located, Located::Absent { .. }) {
            return located;
        }
    }
    if shows(case.facts.listing, id, since) {
        return Located::Known {
            id: id.to_owned(),
            ownership: status.ownership.unwrap_or(Ownership::Created),
            why: Some(Why::Absent),
        };
    }
    if !case.spec.recreates() {
        let message = format!(
            "the provider no longer has webhook {id}; set spec.whenMissing to Recreate, or delete this object"
        );
        return Located::Unknown(case.wait(None, WaitReason::Stalled(Reason::RemoteMissing, message)));
    }
    if list_unavailable {
        let settled = add(since, case.profile.settle);
        let message = "the provider says that the webhook is gone; it is created again when that has settled";
        return if case.now.wall < settled {
            Located::Unknown(case.wait(Some(settled), WaitReason::Settling(message.into())))
        } else {
            absent(case, list_unavailable)
        };
    }
    // One listing that lacks the id may lag behind; a second one, a settling time later, decides.
    let Some(lacked) = case.memory.lacked_since.filter(|lacked| *lacked >= since) else {
        return Located::Unknown(Step::List { begun_after: since });
    };
    let confirmed = add(lacked.min(case.now.wall), case.profile.settle);
    if case.now.wall < confirmed {
        let message =
            "listings no longer show the webhook; it is created again when a second listing confirms that";
        return Located::Unknown(case.wait(Some(confirmed), WaitReason::Settling(message.into())));
    }
    find(case, false, Some(confirmed))
}

/// Nothing like it was found: it may be created, unless the listing is most likely another account's.
fn absent(case: &Case<'_>, list_unavailable: bool) -> Located {
    let mismatch = case.facts.listing.is_some_and(|listing| listing.mismatch);
    if mismatch && !list_unavailable {
        let message = "most of this provider's recorded webhooks are missing: most likely the credential belongs to \
                       another account; nothing is created until the listing shows them again or the objects are \
                       deleted";
        return Located::Unknown(
            case.wait(None, WaitReason::Stalled(Reason::ProviderMismatch, message.to_owned())),
        );
    }
    Located::Absent { target: wanted(case).to_string() }
}

/// A create of ours whose outcome is not known.
fn open_creation(case: &Case<'_>, record: &CreationRecord, list_unavailable: bool) -> Located {
    let outcome = outcome_of_creation(
        case.now,
        case.subject,
        case.spec,
        case.facts,
        case.memory,
        case.profile,
        list_unavailable,
    );
    match outcome {
        Outcome::Found(id) => Located::Known { id, ownership: Ownership::Created, why: Some(Why::Adopting) },
        Outcome::Nothing => absent(case, list_unavailable),
        Outcome::Several(found) => Located::Unknown(case.wait(None, ambiguous(&found, case.profile))),
        Outcome::NeedsListing(begun_after) => Located::Unknown(Step::List { begun_after }),
        Outcome::Settling(until) => {
            let message = "it is not known whether a create took effect; a listing will tell when the provider has settled";
            Located::Unknown(case.wait(Some(until), WaitReason::Settling(message.into())))
        }
        Outcome::CannotKnow => {
            let message = format!(
                "a create was begun at {} and its outcome cannot be found out without a listing{}; look at the provider \
                 and set spec.webhookId to the new webhook's id, or delete and create this object if there is none",
                written(record.started_time),
                if list_unavailable || case.profile.lists_urls {
                    ""
                } else {
                    " that shows postback URLs (operations.list.fields.postbackUrl)"
                }
            );
            Located::Unknown(case.wait(None, WaitReason::Stalled(Reason::CreationOutcomeUnknown, message)))
        }
    }
}

/// Reads the outcome of an open creation record from a listing that is late enough.
pub(super) fn outcome_of_creation<'a>(
    now: Moment,
    subject: &Subject<'_>,
    spec: &WebhookSubscriptionSpec,
    facts: &Facts<'a>,
    memory: &Memory,
    profile: &ProviderProfile,
    list_unavailable: bool,
) -> Outcome<'a> {
    let Some(record) = &subject.status.creation else {
        return Outcome::Nothing;
    };
    if list_unavailable {
        return Outcome::CannotKnow;
    }
    let settled = add(not_ahead(record.started_time, now, memory.listing_after), profile.settle);
    if now.wall < settled {
        return Outcome::Settling(settled);
    }
    let Some(listing) = facts.listing.filter(|listing| listing.begun >= settled) else {
        return Outcome::NeedsListing(settled);
    };
    let current = profile.target_of(spec);
    let remotes = &listing.remotes;
    let (mut also, mut of_former) = (None, None);
    match Recorded::read(&record.target) {
        Some(Recorded::Target(target)) if target != current => also = Some(target),
        // Otherwise nothing was edited since: it says what is wanted now.
        Some(Recorded::Former(digest)) if digest != former(spec.action.as_deref(), &spec.postback_url) => {
            of_former = Some(digest);
        }
        _ => {}
    }
    let same = remotes
        .alike(current)
        .chain(also.into_iter().flat_map(|target| remotes.alike(target)))
        .chain(of_former.into_iter().flat_map(|digest| remotes.with_former(digest)));
    let found = Unclaimed::among(same.map(|(id, _)| id), facts.owner_of);
    if let Some(id) = found.only() {
        return Outcome::Found(id.to_owned());
    }
    if !found.is_empty() {
        return Outcome::Several(found);
    }
    // The digest is that of an action, too, which the listing may not show.
    let perhaps = remotes
        .perhaps_alike(current)
        .chain(also.into_iter().flat_map(|target| remotes.perhaps_alike(target)))
        .chain(of_former.into_iter().flat_map(|_| remotes.without_action()));
    if Unclaimed::among(perhaps.map(|(id, _)| id), facts.owner_of).is_empty() {
        Outcome::Nothing
    } else {
        Outcome::CannotKnow
    }
}

/// Looks for a remote subscription of the same action and URL before one is created.
fn find(case: &Case<'_>, list_unavailable: bool, begun_after: Option<DateTime<Utc>>) -> Located {
    if list_unavailable {
        return absent(case, list_unavailable);
    }
    let wanted = wanted(case);
    let begun_after = begun_after.unwrap_or(case.now.wall).min(case.now.wall);
    let Some(listing) = case.facts.listing.filter(|listing| listing.begun >= begun_after) else {
        return Located::Unknown(Step::List { begun_after });
    };
    let mut owner: Option<(&ObjectKey, String)> = None;
    let alike = listing.remotes.alike(wanted);
    // Without an action of its own it is not one of those with another's.
    let with_another = |id: &str| {
        !wanted.has_action() && listing.remotes.get(id).is_some_and(|listed| listed.target.has_action())
    };
    let unclaimed = Unclaimed::unless(alike.map(|(id, _)| id), |id| {
        let Some(other) = case.facts.owner_of.owner(id) else {
            return false;
        };
        if owner.is_none() && !with_another(id) {
            owner = Some((other, id.to_owned()));
        }
        true
    });
    if let Some(id) = unclaimed.only() {
        let id = id.to_owned();
        if case.spec.adoption_policy.unwrap_or_default() == AdoptionPolicy::Matching {
            return Located::Known { id, ownership: Ownership::Adopted, why: Some(Why::Adopting) };
        }
        let message = format!(
            "webhook {id} with {} exists at the provider; take it over with \
             spec.webhookId: {id} or spec.adoptionPolicy: Matching (all its headers are replaced), or delete it there",
            case.profile.compared()
        );
        return Located::Unknown(case.wait(None, WaitReason::Stalled(Reason::AlreadyExists, message)));
    }
    if !unclaimed.is_empty() {
        return Located::Unknown(case.wait(None, ambiguous(&unclaimed, case.profile)));
    }
    match owner {
        Some((other, id)) => {
            Located::Unknown(case.wait(None, WaitReason::Conflict(case.claimant(other), Some(id))))
        }
        None => absent(case, list_unavailable),
    }
}

fn ambiguous(unclaimed: &Unclaimed<'_>, profile: &ProviderProfile) -> WaitReason {
    let message = format!(
        "{} webhooks with {} exist at the provider{}; set spec.webhookId to the one that is meant and delete \
         the others there",
        unclaimed.count(),
        profile.compared(),
        unclaimed.named().map(|named| format!(" ({named})")).unwrap_or_default()
    );
    WaitReason::Stalled(Reason::Ambiguous, message)
}

fn wanted(case: &Case<'_>) -> Target {
    case.profile.target_of(case.spec)
}
