//! A gate that proves deliveries with the tokens it has been handed, and how it conducts itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use hookkeeper::api::ObjectKey;
use hookkeeper::engine::ports::{GateFailure, Gates, Offered};

use super::World;

/// What the gate does with a token that it is handed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GateConduct {
    /// It takes it in within milliseconds, and says so then.
    #[default]
    Prompt,
    /// It takes so long.
    Late(Duration),
    /// It does not answer.
    Hangs,
    /// It says that it cannot.
    Fails,
    /// It says so at once and takes it in after that time: no barrier at all.
    Lies(Duration),
    /// The step panics.
    Panics,
}

/// What the gate keeps, which is durable, and what came in.
#[derive(Default)]
pub struct Gate {
    /// The sources whose tokens receivers name.
    pub serves: BTreeSet<ObjectKey>,
    /// The sources with whose tokens platforms are asked.
    pub asks: BTreeSet<ObjectKey>,
    pub conduct: GateConduct,
    /// Fingerprints it has kept, by token.
    pub kept: BTreeMap<String, String>,
    /// When each token ends that it has kept, by its fingerprint.
    pub handed: BTreeMap<String, Option<DateTime<Utc>>>,
    /// Each token it was handed, by its fingerprint, once for each time.
    pub offers: Vec<String>,
    /// What it was told last that subscriptions carry.
    pub carried: BTreeMap<ObjectKey, BTreeSet<Arc<str>>>,
    /// How often a token was applied without it.
    pub behind: u64,
    /// Deliveries that came in with a token that it did not know, one sent at once after each apply.
    pub refused: u64,
}

impl Gate {
    /// A delivery comes in with this token.
    pub fn delivered(&mut self, token: &str) {
        self.refused += u64::from(!self.serves.is_empty() && !self.kept.contains_key(token));
    }

    fn uses(&self, source: &ObjectKey) -> bool {
        self.serves.contains(source) || self.asks.contains(source)
    }

    fn keep(&mut self, token: &Offered) {
        self.kept.insert(token.token.expose().to_owned(), token.fingerprint.clone());
        self.handed.insert(token.fingerprint.clone(), token.expires);
    }
}

impl Gates for World {
    fn serves(&self, source: &ObjectKey) -> bool {
        self.outside().gate.uses(source)
    }

    fn lacks(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        let outside = self.outside();
        let gate = &outside.gate;
        gate.serves.contains(source) && gate.kept.values().all(|kept| kept != fingerprint)
    }

    fn asks_with(&self, source: &ObjectKey) -> bool {
        self.outside().gate.asks.contains(source)
    }

    fn wants(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        let outside = self.outside();
        outside.gate.uses(source) && outside.gate.kept.values().all(|kept| kept != fingerprint)
    }

    fn offer<'a>(
        &'a self,
        source: &'a ObjectKey,
        token: &'a Offered,
    ) -> BoxFuture<'a, Result<(), GateFailure>> {
        Box::pin(async move {
            assert!(self.serves(source), "{source} is served by nobody");
            self.outside().gate.offers.push(token.fingerprint.clone());
            let conduct = self.outside().gate.conduct;
            let takes = match conduct {
                GateConduct::Prompt => Duration::from_millis(3),
                GateConduct::Late(takes) => takes,
                GateConduct::Hangs => return std::future::pending().await,
                GateConduct::Fails => return Err(GateFailure("the disk is full".into())),
                GateConduct::Panics => panic!("a step that panics, as the test asked"),
                GateConduct::Lies(takes) => {
                    let (world, token) = (self.clone(), token.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep(takes).await;
                        world.outside().gate.keep(&token);
                    });
                    return Ok(());
                }
            };
            tokio::time::sleep(takes).await;
            self.outside().gate.keep(token);
            Ok(())
        })
    }

    fn carried(&self, source: &ObjectKey, fingerprints: &BTreeSet<Arc<str>>) {
        self.outside().gate.carried.insert(source.clone(), fingerprints.clone());
    }
}
