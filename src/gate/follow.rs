//! Carrying out what a shell tells: one change of each namespace at a time, namespaces in turn, because a
//! change waits until Secrets have been read.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc::Receiver;

use super::change::ReceiverChange;
use super::registry::Registry;
use crate::api::ObjectKey;
use crate::shares::one_each::OneEach;

/// How many changes are carried out at the same time.
const AT_ONCE: usize = 16;

/// What a change is about: of several that wait, the newest counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Receiver(Arc<str>),
    Source(Arc<str>),
    Carried(Arc<str>),
    Namespace,
}

/// Hands what is declared to the registry; `synced` is called once, when everything that was there at the
/// start is at work. Ends when nobody sends changes any more.
pub async fn follow(registry: Registry, mut changes: Receiver<ReceiverChange>, synced: impl FnOnce() + Send) {
    registry.hold();
    let mut synced = Some(synced);
    // Nothing more is taken in until everything that was there at the start has been carried out.
    let mut is_syncing = false;
    let mut is_open = true;
    let mut waiting = OneEach::default();
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some((namespace, _, change)) = waiting.next()
        {
            under_way.push(carry_out(registry.clone(), namespace, change));
        }
        if is_syncing && waiting.is_idle() {
            is_syncing = false;
            registry.let_go().await;
            if let Some(synced) = synced.take() {
                synced();
            }
        }
        if !is_open && waiting.is_idle() {
            return;
        }
        tokio::select! {
            Some(namespace) = under_way.next(), if !under_way.is_empty() => waiting.done(&namespace),
            change = changes.recv(), if is_open && !is_syncing => match change {
                None => is_open = false,
                Some(ReceiverChange::Synced) => is_syncing = true,
                Some(change) => {
                    if let Some((namespace, subject)) = subject(&change) {
                        waiting.put(&namespace, subject, change);
                    }
                }
            },
        }
    }
}

fn subject(change: &ReceiverChange) -> Option<(Arc<str>, Subject)> {
    let of = |key: &ObjectKey, subject: fn(Arc<str>) -> Subject| {
        Some((Arc::clone(&key.namespace), subject(Arc::clone(&key.name))))
    };
    match change {
        ReceiverChange::Declared(declared) => of(&declared.identity.key, Subject::Receiver),
        ReceiverChange::Invalid(identity, _) => of(&identity.key, Subject::Receiver),
        ReceiverChange::Gone(key, _) | ReceiverChange::Deleted(key) => of(key, Subject::Receiver),
        ReceiverChange::Source(key, _) => of(key, Subject::Source),
        ReceiverChange::Carried(key, _) => of(key, Subject::Carried),
        ReceiverChange::Listed(namespace) => Some((Arc::clone(namespace), Subject::Namespace)),
        ReceiverChange::Synced => None,
    }
}

async fn carry_out(registry: Registry, namespace: Arc<str>, change: ReceiverChange) -> Arc<str> {
    match change {
        ReceiverChange::Declared(declared) => {
            let declared = *declared;
            registry.declare(declared.identity, &declared.spec, declared.status).await;
        }
        ReceiverChange::Invalid(identity, problems) => registry.refuse(identity, problems).await,
        ReceiverChange::Gone(key, since) => registry.gone(&key, since).await,
        ReceiverChange::Deleted(key) => registry.delete(&key).await,
        ReceiverChange::Source(key, spec) => registry.source(key, spec.map(|spec| *spec)).await,
        ReceiverChange::Carried(key, fingerprints) => registry.carries(&key, fingerprints).await,
        ReceiverChange::Listed(namespace) => registry.listed(&namespace).await,
        ReceiverChange::Synced => {}
    }
    namespace
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use futures::future::BoxFuture;
    use serde_json::json;
    use tokio::sync::{mpsc, oneshot};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::api::validation;
    use crate::api::{Declared, Identity, SecretKeyReference, WebhookReceiverSpec, WebhookReceiverStatus};
    use crate::gate::clock::SteadyClock;
    use crate::gate::hand_on::tests::memory::MemoryStore;
    use crate::gate::ports::{Credentials, Read};
    use crate::gate::registry::{Options, ReadAgain, Scope};

    /// Who has read, and when.
    type Reads = Arc<Mutex<Vec<(String, Duration)>>>;

    /// Secrets that take a second each in one namespace, and no time elsewhere; notes who reads when.
    struct Slow(Reads, Instant);

    impl Credentials for Slow {
        fn read<'a>(
            &'a self,
            namespace: &'a str,
            references: &'a [SecretKeyReference],
            _: Instant,
        ) -> BoxFuture<'a, Vec<Read>> {
            Box::pin(async move {
                self.0.lock().unwrap().push((namespace.to_owned(), self.1.elapsed()));
                if namespace == "flooding" {
                    sleep(Duration::from_secs(1)).await;
                }
                references.iter().map(|_| Ok("user:password".into())).collect()
            })
        }
    }

    fn declared(namespace: &str, name: &str) -> ReceiverChange {
        let spec = json!({ "spec": {
            "verification": { "basic": { "secretKeyRefs": [{ "name": "s", "key": "k" }] } },
            "forward": { "service": { "name": "app", "port": 80 } },
        } });
        let spec: WebhookReceiverSpec = validation::decode(&spec, None).unwrap();
        let named = Identity::of_name(ObjectKey::new(namespace, name));
        let identity = Identity { uid: format!("{namespace}-{name}"), ..named };
        ReceiverChange::Declared(Box::new(Declared {
            identity,
            spec,
            status: WebhookReceiverStatus::default(),
        }))
    }

    fn registry(read_again: ReadAgain) -> (Registry, Reads) {
        let clock = SteadyClock::starting("2026-11-27T03:00:00Z".parse().unwrap());
        let reads = Reads::default();
        let slow = Arc::new(Slow(Arc::clone(&reads), Instant::now()));
        let scope = Scope::Namespaces(["flooding", "hr", "ops"].map(Arc::from).into());
        let options = Options { read_again, scope, ..Options::default() };
        let store = Arc::new(MemoryStore::new(clock));
        (Registry::new(store, slow, Arc::new(clock), &[5; 32], options), reads)
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_with_much_to_read_delays_no_other_one_and_all_are_there_when_that_is_said() {
        let (registry, _) = registry(ReadAgain::default());
        let (changes, receiver) = mpsc::channel(16);
        let (synced, mut is_synced) = oneshot::channel();
        let following = tokio::spawn(follow(registry.clone(), receiver, move || synced.send(()).unwrap()));
        for number in 0..20 {
            changes.send(declared("flooding", &number.to_string())).await.unwrap();
        }
        changes.send(ReceiverChange::Listed("flooding".into())).await.unwrap();
        changes.send(ReceiverChange::Synced).await.unwrap();
        sleep(Duration::from_millis(19_500)).await;
        assert!(is_synced.try_recv().is_err(), "not all have been read");
        assert!(registry.receivers().borrow().is_empty(), "nobody sees a part of them");
        assert!(!registry.knows_all_of("flooding"));
        sleep(Duration::from_secs(1)).await;
        is_synced.try_recv().unwrap();
        assert_eq!(registry.receivers().borrow().len(), 20);
        assert!(registry.knows_all_of("flooding") && !registry.knows_all_of("hr"));
        // Of those that were not listed nobody can say that there is nothing at a path.
        for (path, may_be_there) in [
            ("/flooding/other", false),
            ("/hr/in", true),
            ("/hr", false),
            ("/hrx/in", false),
            ("/ops/in", true),
            ("/sales/in", false),
        ] {
            assert_eq!(registry.may_be_there(path), may_be_there, "{path}");
        }

        for number in 0..100 {
            changes.send(declared("flooding", &number.to_string())).await.unwrap();
        }
        changes.send(declared("hr", "in")).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        assert!(registry.at("/hr/in").is_some());
        changes.send(ReceiverChange::Deleted(ObjectKey::new("hr", "in"))).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        assert!(registry.at("/hr/in").is_none());
        assert!(!registry.receivers().borrow().contains_key("hr-in"));
        drop(changes);
        following.await.unwrap();
        assert_eq!(registry.receivers().borrow().len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn secrets_are_read_again_at_a_measured_pace_and_each_namespace_in_its_own_time() {
        let apart = Duration::from_millis(20);
        let (registry, reads) = registry(ReadAgain { every: Duration::from_secs(60), apart });
        for number in 0..100 {
            carry_out(registry.clone(), "flooding".into(), declared("flooding", &number.to_string())).await;
        }
        for number in 0..10 {
            carry_out(registry.clone(), "hr".into(), declared("hr", &number.to_string())).await;
        }
        reads.lock().unwrap().clear();
        let began = Instant::now();
        let following = tokio::spawn(async move { registry.follow_credentials().await });
        sleep(Duration::from_secs(59)).await;
        assert!(reads.lock().unwrap().is_empty());
        sleep(Duration::from_secs(305)).await;
        following.abort();
        let reads = reads.lock().unwrap().clone();
        let count = |namespace: &str| reads.iter().filter(|(of, _)| of == namespace).count();
        assert_eq!(count("hr"), 60, "each of ten once a minute, for six minutes");
        assert!(count("flooding") > 250, "{}", count("flooding"));
        let mut times: Vec<Duration> = reads.iter().map(|(_, at)| *at).collect();
        times.sort_unstable();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= apart), "{:?}", began.elapsed());
    }
}
