//! What is kept of tokens, and when it is forgotten.
//!
//! A source's tokens are kept in five places: the held token, what stands in the Secret it
//! publishes to, what is to be written there, the token that was applied last, which becomes
//! `previous` there, and those that its gates have not taken in. They are forgotten together, by [`Source::forget_tokens`]:
//!
//! - when the source's object is deleted, or nobody uses one that a subscription spells out;
//! - when nobody uses a declared source and the life of its token is over;
//! - when this process loses the lead, and again when it begins to lead: another process may have
//!   brought newer tokens meanwhile, and who may not act has no use for any. What is published is
//!   read from its Secret again, everything else is asked for again.
//!
//! When a source is edited so that another token is asked for, the held one alone is forgotten:
//! receivers must go on accepting what was applied until everybody has moved. When it publishes no
//! longer, what is known of the Secret is forgotten.
//!
//! A call that is under way holds a token of its own until it ends, which it does within minutes.
//! What a mint or a read of a Secret brings after its source has forgotten is dropped. Credentials
//! are not kept here: they are read at the moment of use, and whoever reads them wipes them after
//! half a minute at most.

use crate::engine::ports::Published;
use crate::engine::state::offering::Offering;
use crate::engine::state::publication::Publication;
use crate::engine::state::source::{Source, SourceKey};
use crate::secret::SecretText;
use crate::secret::bounds::{Bounds, Owner};

impl Source {
    /// Where the held token may go: what its Secret says, and what the source's object says now.
    pub(crate) fn bounds(&self) -> Bounds {
        let mut bounds = self.token_bounds.clone();
        if let (SourceKey::Object(key), Some(spec)) = (&self.key, &self.spec)
            && !spec.allowed_hosts.is_empty()
        {
            bounds.confine(Owner::TokenSource(key.name.to_string()), &spec.allowed_hosts);
        }
        bounds
    }

    /// The held token is not applied any more.
    pub(crate) fn forget_held(&mut self) {
        self.token = None;
        self.token_bounds = Bounds::default();
        self.state.held = None;
        self.state.apply_after = None;
        self.state.for_gates = None;
        self.state.not_renewed = false;
        self.state.remark = None;
        self.refresh();
    }

    /// Nothing is known of the Secret any more; a read or a write that is under way brings nothing.
    pub(crate) fn forget_published(&mut self) {
        let forgotten = self.published.forgotten + 1;
        self.published = Publication { busy: self.published.busy, forgotten, ..Publication::default() };
        self.state.unread = false;
    }

    /// No token of the source is kept any more.
    pub(crate) fn forget_tokens(&mut self) {
        self.forget_held();
        self.forget_published();
        self.offering.open.clear();
        self.last_lifetime = None;
    }

    /// How many tokens are kept of it.
    pub(crate) fn tokens_kept(&self) -> usize {
        // Whoever adds a field decides here whether a token is in it.
        let Self {
            token,
            offering: Offering { open, busy: _, failures: _, behind: _, timer: _ },
            published: Publication { tokens, pending, applied, busy: _, failures: _, forgotten: _ },
            key: _,
            namespace: _,
            spec: _,
            invalid: _,
            object: _,
            state: _,
            token_bounds: _,
            users: _,
            members: _,
            carried: _,
            carried_changed: _,
            carried_for_gates: _,
            waiting: _,
            wanted: _,
            minting: _,
            failures: _,
            hold: _,
            slowest: _,
            last_lifetime: _,
            recording: _,
            unrecorded: _,
            timer: _,
            renewal: _,
        } = self;
        let of_published = |published: &Published| {
            let Published {
                current: _,
                previous,
                previous_fingerprint: _,
                fingerprint: _,
                minted: _,
                expires: _,
                allowed_hosts: _,
            } = published;
            1 + usize::from(previous.is_some())
        };
        let applied: Option<&SecretText> = applied.as_ref().map(|(_, token)| token);
        usize::from(token.is_some())
            + tokens.as_ref().map_or(0, of_published)
            + pending.as_ref().map_or(0, of_published)
            + usize::from(applied.is_some())
            + open.len()
    }
}
