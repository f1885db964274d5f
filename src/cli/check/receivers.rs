//! What is wrong with receivers: by themselves with their preset, and with the objects that they name or
//! that name them.
//!
//! An object that is not among the files may be somewhere else, so that it is missing is a doubt. What an
//! object that is among them says is known, so that it does not fit is a problem.

use std::collections::BTreeMap;

use url::Url;

use super::declared::{Declared, place_of};
use super::findings::Findings;
use crate::api::manifest::{Document, Manifest};
use crate::api::{
    Identity, Kind, ObjectKey, PublishTo, TokenPlace, WebhookReceiverSpec, WebhookSubscriptionSpec,
};
use crate::gate::paths::{AllowedPath, check_path};
use crate::gate::receiver::Receiver;
use crate::gate::resolve::default_path;

/// A subscription that names a receiver, and where it sends its token.
struct Sender<'a> {
    key: ObjectKey,
    place: Option<TokenPlace<'a>>,
}

/// Judges all receivers, and what subscriptions say of them.
pub(super) fn judge(
    documents: &[(&str, Document)],
    declared: &Declared<'_>,
    allowed: &[AllowedPath],
    findings: &mut Findings,
) {
    let mut judge = Judge { declared, allowed, findings };
    let mut senders: BTreeMap<ObjectKey, Vec<Sender<'_>>> = BTreeMap::new();
    for (file, document) in documents {
        if let Manifest::WebhookSubscription(spec) = &document.manifest
            && let Some(reference) = &spec.receiver_ref
        {
            let at = At { file, subject: place_of(file, document, Kind::WebhookSubscription) };
            let receiver = document.key().sibling(&reference.name);
            let of_receiver = senders.entry(receiver.clone()).or_default();
            let sender = Sender { key: document.key(), place: spec.token_place() };
            judge.subscription(&at, spec, &receiver, &sender, of_receiver.first());
            of_receiver.push(sender);
        }
    }
    let mut paths: BTreeMap<String, ObjectKey> = BTreeMap::new();
    for (file, document) in documents {
        if let Manifest::WebhookReceiver(spec) = &document.manifest
            && declared.is_first(Kind::WebhookReceiver, file, document)
        {
            let at = At { file, subject: place_of(file, document, Kind::WebhookReceiver) };
            let key = document.key();
            let place = senders.get(&key).and_then(|senders| senders.iter().find_map(|sender| sender.place));
            judge.alone(&at, &key, spec, place);
            judge.path(&at, &key, spec, &mut paths);
            judge.sources(&at, &key, spec);
        }
    }
    for (file, document) in documents {
        if let Manifest::TokenSource(spec) = &document.manifest
            && spec.publish_to.as_ref().is_some_and(PublishTo::is_for_gates_alone)
        {
            let at = At { file, subject: place_of(file, document, Kind::TokenSource) };
            judge.read_by_gates(&at, &document.key());
        }
    }
}

/// The object that something is found in.
struct At<'a> {
    file: &'a str,
    subject: String,
}

struct Judge<'a, 'b> {
    declared: &'a Declared<'b>,
    allowed: &'a [AllowedPath],
    findings: &'a mut Findings,
}

impl Judge<'_, '_> {
    fn problem(&mut self, at: &At<'_>, problem: impl std::fmt::Display) {
        self.findings.problem(at.file, &at.subject, problem);
    }

    fn warning(&mut self, at: &At<'_>, warning: impl std::fmt::Display) {
        self.findings.warning(at.file, &at.subject, warning);
    }

    fn absent(&mut self, at: &At<'_>, field: &str, kind: Kind, key: &ObjectKey) {
        self.declared.warn_if_absent(at.file, &at.subject, field, kind, key, self.findings);
    }

    /// Everything that only the object and its preset together show.
    fn alone(
        &mut self,
        at: &At<'_>,
        key: &ObjectKey,
        spec: &WebhookReceiverSpec,
        place: Option<TokenPlace<'_>>,
    ) {
        let mut complete = spec.clone();
        if let Some(place) = place {
            complete.reads_token_at(place);
        }
        for problem in Receiver::of(&Identity::of_name(key.clone()), &complete).err().into_iter().flatten() {
            self.problem(at, problem);
        }
        if spec.verification.none.is_some() && spec.source_ranges.is_empty() {
            self.warning(
                at,
                "spec.verification.none: whoever reaches the URL is believed; give sourceRanges at least",
            );
        }
    }

    fn path(
        &mut self,
        at: &At<'_>,
        key: &ObjectKey,
        spec: &WebhookReceiverSpec,
        paths: &mut BTreeMap<String, ObjectKey>,
    ) {
        let path = path_of(key, spec);
        if let Err(problem) = check_path(&key.namespace, &path, self.allowed) {
            self.problem(at, problem);
        } else if let Some(other) = paths.get(&path) {
            self.problem(
                at,
                format!(
                    "spec.path: WebhookReceiver {other} has the path {path} too; the older one of the two has it, and \
                     the other one is refused with Conflict: give each a path of its own"
                ),
            );
        } else {
            paths.insert(path, key.clone());
        }
    }

    /// A source whose published tokens are for gates alone.
    fn read_by_gates(&mut self, at: &At<'_>, key: &ObjectKey) {
        let reads = |(receiver, spec): (&ObjectKey, &&WebhookReceiverSpec)| {
            spec.token_source().is_some_and(|source| receiver.sibling(source) == *key)
        };
        if !self.declared.receivers.iter().any(reads) {
            self.warning(
                at,
                "spec.publishTo.readers: Gates, and no WebhookReceiver among the files takes its tokens; with nobody to \
                 say that it has a new one, each is held back as long as for other readers",
            );
        }
    }

    /// The token sources that a receiver names.
    fn sources(&mut self, at: &At<'_>, key: &ObjectKey, spec: &WebhookReceiverSpec) {
        let token = spec.verification.token.as_ref();
        if let Some(reference) = token.and_then(|token| token.token_source_ref.as_ref()) {
            let field = "spec.verification.token.tokenSourceRef.name";
            let source = key.sibling(&reference.name);
            match self.declared.sources.get(&source) {
                None => self.absent(at, field, Kind::TokenSource, &source),
                Some(spec) if spec.publish_to.is_none() => self.warning(
                    at,
                    format!(
                        "{field}: TokenSource {source} publishes no tokens, so that only a gate in the process that \
                         rotates gets them (sidecar --gate-listen); for any other gate, give it publishTo"
                    ),
                ),
                Some(_) => {}
            }
        }
        if let Some(request) = spec.fallback.as_ref().map(|fallback| &fallback.request)
            && let Some(reference) = &request.token_source_ref
        {
            let url = Url::parse(&request.url.replace("{id}", "id")).ok();
            let host = url.as_ref().and_then(Url::host_str);
            self.asked_with(at, &key.sibling(&reference.name), host);
        }
    }

    /// The source of the token that a platform is asked with: it has to publish, and its tokens have to be
    /// sent to this host.
    fn asked_with(&mut self, at: &At<'_>, key: &ObjectKey, host: Option<&str>) {
        let field = "spec.fallback.request.tokenSourceRef.name";
        let Some(spec) = self.declared.sources.get(key) else {
            self.absent(at, field, Kind::TokenSource, key);
            return;
        };
        if spec.publish_to.is_none() {
            self.problem(
                at,
                format!(
                    "{field}: TokenSource {key} publishes no tokens; give it publishTo, so that the gate has the token \
                     also after a restart"
                ),
            );
        }
        if let Some(host) = host
            && !spec.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
        {
            self.problem(
                at,
                format!(
                    "{field}: the tokens of TokenSource {key} may not be sent to {host}; add it to the source's \
                     allowedHosts"
                ),
            );
        }
    }

    /// What a subscription and the receiver that it names say of each other.
    fn subscription(
        &mut self,
        at: &At<'_>,
        spec: &WebhookSubscriptionSpec,
        receiver: &ObjectKey,
        sender: &Sender<'_>,
        first: Option<&Sender<'_>>,
    ) {
        const FIELD: &str = "spec.receiverRef.name";
        let Some(target) = self.declared.receivers.get(receiver) else {
            self.absent(at, FIELD, Kind::WebhookReceiver, receiver);
            return;
        };
        let sent =
            spec.token_source_ref.as_ref().map(|reference| reference.name.as_str()).unwrap_or_default();
        let token = target.verification.token.as_ref();
        match token.and_then(|token| token.token_source_ref.as_ref()) {
            Some(accepted) if accepted.name == sent => {}
            Some(accepted) => self.problem(
                at,
                format!(
                    "{FIELD}: WebhookReceiver {receiver} accepts the tokens of TokenSource {}, and this subscription \
                     sends those of {sent}; name the same source in both",
                    accepted.name
                ),
            ),
            None => self.problem(
                at,
                format!(
                    "{FIELD}: WebhookReceiver {receiver} accepts no tokens of a TokenSource; set its \
                     verification.token.tokenSourceRef to {sent}"
                ),
            ),
        }
        let named = token.and_then(|token| {
            let prefix = token.prefix.as_deref().unwrap_or_default();
            Some(TokenPlace { header: token.header.as_deref()?, prefix })
        });
        if let (Some(place), Some(named)) = (sender.place, named)
            && !named.is_same(place)
        {
            self.warning(
                at,
                format!(
                    "{FIELD}: WebhookReceiver {receiver} names another header or prefix than the one in which this \
                     subscription sends its token; the subscription's counts, so leave the receiver's out"
                ),
            );
        }
        if let (Some(place), Some(first)) = (sender.place, first)
            && first.place.is_some_and(|other| !other.is_same(place))
        {
            self.problem(
                at,
                format!(
                    "spec.clientHeaders: WebhookSubscription {} of the same receiver sends its token in another header \
                     or with another prefix, and a receiver reads one; write both alike",
                    first.key
                ),
            );
        }
        let path = path_of(receiver, target);
        let ends = Url::parse(&spec.postback_url).is_ok_and(|url| url.path().ends_with(&path));
        if !ends {
            self.warning(
                at,
                format!(
                    "spec.postbackUrl: its path does not end with {path}, the path of WebhookReceiver {receiver}; that \
                     is right only if something in front of the gate changes the path"
                ),
            );
        }
    }
}

fn path_of(key: &ObjectKey, spec: &WebhookReceiverSpec) -> String {
    spec.path.clone().unwrap_or_else(|| default_path(&key.namespace, &key.name))
}
