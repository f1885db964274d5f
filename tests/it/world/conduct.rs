//! How the platforms and the token servers of single authors behave, and what is seen of it.

use std::collections::BTreeMap;
use std::time::Duration;

use hookkeeper::api::{ObjectKey, SubscriptionStatus};
use hookkeeper::engine::ports::{MintFailure, RemoteSubscription};

use super::CallFault;

/// What a token server does to a mint.
#[derive(Clone, Debug)]
pub enum MintConduct {
    /// It never answers.
    Hangs,
    /// This is its answer.
    Refuses(MintFailure),
    /// It issues a token that lives for so long.
    Lives(Duration),
}

/// By the provider object, the operation, and the action or id.
pub type OfCalls = Box<dyn FnMut(&ObjectKey, &'static str, &str) -> Option<CallFault> + Send>;

/// By the namespace and the source as it is written.
pub type OfMints = Box<dyn FnMut(&str, &str) -> Option<MintConduct> + Send>;

/// Sees every status of a subscription that becomes durable.
pub type Watch = Box<dyn FnMut(&ObjectKey, &SubscriptionStatus) + Send>;

/// What differs between authors.
#[derive(Default)]
pub struct Conduct {
    pub of_calls: Option<OfCalls>,
    pub of_mints: Option<OfMints>,
    /// How many pages the listings of these providers have, of so many webhooks each.
    pub long_listings: BTreeMap<ObjectKey, (u32, usize)>,
    /// Whether the ids of one account are never those of another.
    pub numbers_apart: bool,
    pub watch: Option<Watch>,
}

impl Conduct {
    pub fn of_call(
        &mut self,
        provider: &ObjectKey,
        operation: &'static str,
        about: &str,
    ) -> Option<CallFault> {
        self.of_calls.as_mut().and_then(|conduct| conduct(provider, operation, about))
    }

    pub fn of_mint(&mut self, namespace: &str, about: &str) -> Option<MintConduct> {
        self.of_mints.as_mut().and_then(|conduct| conduct(namespace, about))
    }

    /// What an account calls its next webhook.
    pub fn id(&self, account: &str, number: u64) -> String {
        if self.numbers_apart && !account.is_empty() {
            format!("{account}-{number}")
        } else {
            format!("remote-{number}")
        }
    }

    pub fn seen(&mut self, key: &ObjectKey, status: &SubscriptionStatus) {
        if let Some(watch) = &mut self.watch {
            watch(key, status);
        }
    }
}

/// The webhooks on a page of a long listing.
pub fn page(number: u32, size: usize) -> Vec<RemoteSubscription> {
    let remote = |at: usize| RemoteSubscription {
        id: format!("listed-{number}-{at}"),
        action: Some("listed".into()),
        postback_url: Some(format!("https://listed.example.com/{number}/{at}")),
        active: Some(true),
    };
    (0..size).map(remote).collect()
}
