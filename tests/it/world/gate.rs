//! A gate that proves deliveries with the tokens it has been handed, and how it conducts itself; or several
//! gates that are processes of their own, and read tokens where these are published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use hookkeeper::api::ObjectKey;
use hookkeeper::engine::change::Change;
use hookkeeper::engine::ports::{GateFailure, Gates, Offered};

use tokio::sync::Notify;

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

/// A gate that is a process of its own.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// How long it takes to load a token after the status of its source has named it; `None` if it never
    /// does.
    pub loads_after: Option<Duration>,
    /// Fingerprints and tokens that it has loaded.
    pub loaded: BTreeMap<String, String>,
}

/// What the gate keeps, which is durable, and what came in.
#[derive(Default)]
pub struct Gate {
    /// Gates that are processes of their own, by name. Where there are none, there is one in the engine's
    /// process.
    pub replicas: BTreeMap<String, Replica>,
    /// Whether gates are processes of their own, although none may be there.
    pub in_cluster: bool,
    /// Told whenever one of them comes, goes or loads a token.
    changed: Arc<Notify>,
    /// The sources whose tokens receivers name.
    pub serves: BTreeSet<ObjectKey>,
    /// The sources with whose tokens platforms are asked.
    pub asks: BTreeSet<ObjectKey>,
    pub conduct: GateConduct,
    /// Fingerprints it has kept, by token.
    pub kept: BTreeMap<String, String>,
    /// When each token expires that it has kept, by its fingerprint.
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
        let is_refused = if self.in_cluster {
            // It may come in at any of them.
            self.replicas.values().any(|replica| replica.loaded.values().all(|loaded| loaded != token))
        } else {
            !self.kept.contains_key(token)
        };
        self.refused += u64::from(!self.serves.is_empty() && is_refused);
    }

    /// Those who lack a token.
    fn behind(&self, fingerprint: &str) -> Vec<String> {
        let lacks = |(_, replica): &(&String, &Replica)| !replica.loaded.contains_key(fingerprint);
        self.replicas.iter().filter(lacks).map(|(name, _)| name.clone()).collect()
    }

    fn uses(&self, source: &ObjectKey) -> bool {
        self.serves.contains(source) || self.asks.contains(source)
    }

    fn keep(&mut self, token: &Offered) {
        self.kept.insert(token.token.expose().to_owned(), token.fingerprint.clone());
        self.handed.insert(token.fingerprint.clone(), token.expires);
    }
}

impl World {
    /// A gate appears, and loads what is published.
    pub async fn gate_appears(&self, name: &str, loads_after: Option<Duration>) {
        let replica = Replica { loads_after, ..Replica::default() };
        {
            let gate = &mut self.outside().gate;
            gate.in_cluster = true;
            gate.replicas.insert(name.into(), replica);
        }
        let sources: Vec<ObjectKey> = self.outside().gate.serves.iter().cloned().collect();
        for source in sources {
            self.tell_of_gates(&source).await;
            self.load(name, &source);
        }
    }

    /// A gate is gone.
    pub async fn gate_goes(&self, name: &str) {
        self.outside().gate.replicas.remove(name);
        let sources: Vec<ObjectKey> = self.outside().gate.serves.iter().cloned().collect();
        for source in sources {
            self.tell_of_gates(&source).await;
        }
    }

    /// The status of a source names a token: whoever serves the source reads it.
    pub(super) fn token_is_named(&self, source: &ObjectKey) {
        if self.outside().gate.serves.contains(source) {
            let names: Vec<String> = self.outside().gate.replicas.keys().cloned().collect();
            names.iter().for_each(|name| self.load(name, source));
        }
    }

    fn load(&self, name: &str, source: &ObjectKey) {
        let takes = self.outside().gate.replicas.get(name).and_then(|replica| replica.loads_after);
        let Some(takes) = takes else { return };
        let (world, name, source) = (self.clone(), name.to_owned(), source.clone());
        tokio::spawn(async move {
            tokio::time::sleep(takes).await;
            {
                let mut outside = world.outside();
                let Some(published) = outside.published.get(&source).cloned() else { return };
                let Some(replica) = outside.gate.replicas.get_mut(&name) else { return };
                let previous = published.previous_fingerprint.zip(published.previous);
                for (fingerprint, token) in
                    previous.into_iter().chain([(published.fingerprint, published.current)])
                {
                    replica.loaded.insert(fingerprint, token.expose().to_owned());
                }
            }
            world.tell_of_gates(&source).await;
        });
    }

    async fn tell_of_gates(&self, source: &ObjectKey) {
        let engines = {
            let mut outside = self.outside();
            outside.gate.changed.notify_waiters();
            outside.engines.retain(|engine| engine.upgrade().is_some());
            outside.engines.clone()
        };
        for engine in engines.iter().filter_map(tokio::sync::mpsc::WeakSender::upgrade) {
            // One that has been killed hears nothing.
            drop(engine.send(Change::Gates(source.clone())).await);
        }
    }
}

impl Gates for World {
    fn serves(&self, source: &ObjectKey) -> bool {
        let outside = self.outside();
        let gate = &outside.gate;
        gate.uses(source) && !(gate.in_cluster && gate.replicas.is_empty())
    }

    fn lacks(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        let outside = self.outside();
        let gate = &outside.gate;
        if gate.in_cluster {
            return gate.serves.contains(source) && !gate.behind(fingerprint).is_empty();
        }
        gate.serves.contains(source) && gate.kept.values().all(|kept| kept != fingerprint)
    }

    fn behind(&self, _: &ObjectKey, fingerprint: &str) -> Vec<String> {
        self.outside().gate.behind(fingerprint)
    }

    fn read_published(&self) -> bool {
        self.outside().gate.in_cluster
    }

    fn asks_with(&self, source: &ObjectKey) -> bool {
        self.outside().gate.asks.contains(source)
    }

    fn wants(&self, source: &ObjectKey, fingerprint: &str) -> bool {
        let is_cluster = self.outside().gate.in_cluster;
        if is_cluster {
            return self.lacks(source, fingerprint);
        }
        let outside = self.outside();
        outside.gate.uses(source) && outside.gate.kept.values().all(|kept| kept != fingerprint)
    }

    fn offer<'a>(
        &'a self,
        source: &'a ObjectKey,
        token: &'a Offered,
    ) -> BoxFuture<'a, Result<(), GateFailure>> {
        Box::pin(async move {
            self.boundary().await;
            assert!(self.serves(source), "{source} is served by nobody");
            self.outside().gate.offers.push(token.fingerprint.clone());
            if self.outside().gate.in_cluster {
                let changed = Arc::clone(&self.outside().gate.changed);
                loop {
                    let next = changed.notified();
                    if !self.lacks(source, &token.fingerprint) {
                        return Ok(());
                    }
                    next.await;
                }
            }
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
            self.boundary().await;
            Ok(())
        })
    }

    fn carried(&self, source: &ObjectKey, fingerprints: &BTreeSet<Arc<str>>) {
        self.outside().gate.carried.insert(source.clone(), fingerprints.clone());
    }
}
