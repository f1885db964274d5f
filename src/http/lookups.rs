//! Names that are being looked up: how many at once, and how many of one author.
//!
//! Whoever writes a URL chooses whose DNS is asked, and a DNS may leave every question unanswered. The
//! operating system cannot be told to give a question up: a thread waits for it, for minutes where
//! several servers and search domains are tried. So such threads are counted, by the namespace that
//! the question is asked for, and everybody waits for a limited time.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::Shared;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::Resolver;

/// How many names may be looked up at once.
const MOST: usize = 64;
/// How many of them for one author.
const MOST_OF_ONE: usize = 8;
/// How many are kept for authors for whom no other is under way.
const KEPT: usize = 16;

/// The namespace that a name is looked up for.
pub(super) type Author = Arc<str>;

/// Why a name was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// It was asked for, and there is no answer.
    Unanswered,
    /// It could not be asked for: the author's share is taken by other names.
    OthersOfTheAuthor,
    /// It could not be asked for: too many names are.
    Others,
}

impl GivenUp {
    /// In words, for whoever wrote the URL.
    pub(super) fn problem(self) -> &'static str {
        match self {
            Self::Unanswered => "the DNS does not answer; check its spelling and the DNS",
            Self::OthersOfTheAuthor => {
                "8 other names of the same namespace are waited for, as many as may be at once, and the DNS answers for none of them; check those names"
            }
            Self::Others => "as many names as possible are waited for; check the DNS",
        }
    }
}

/// Whether one more name may be looked up: with so many under way, and so many of them for the author.
fn may_begin(all: usize, own: usize) -> Result<(), GivenUp> {
    if own >= MOST_OF_ONE {
        return Err(GivenUp::OthersOfTheAuthor);
    }
    let places = if own == 0 { MOST } else { MOST - KEPT };
    if all < places { Ok(()) } else { Err(GivenUp::Others) }
}

/// What a lookup brought, for all who wait for it.
type Found = Result<Arc<[IpAddr]>, io::ErrorKind>;
type Running = Shared<oneshot::Receiver<Found>>;

/// Looks names up, a limited number at once. Clones share it.
#[derive(Clone)]
pub(super) struct Lookups {
    resolver: Arc<dyn Resolver>,
    under_way: Arc<UnderWay>,
    /// How long anybody waits for a name.
    pub(super) limit: Duration,
}

/// Of one author a name is looked up once at a time, for all who ask for it.
#[derive(Default)]
struct UnderWay {
    names: Mutex<BTreeMap<(Author, String), Running>>,
    /// One has ended.
    ended: Notify,
}

impl UnderWay {
    fn names(&self) -> MutexGuard<'_, BTreeMap<(Author, String), Running>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a name off when its lookup has ended, however that came about.
struct Place {
    under_way: Arc<UnderWay>,
    key: (Author, String),
}

impl Drop for Place {
    fn drop(&mut self) {
        self.under_way.names().remove(&self.key);
        self.under_way.ended.notify_waiters();
    }
}

impl Lookups {
    pub(super) fn new(resolver: Arc<dyn Resolver>, limit: Duration) -> Self {
        Self { resolver, under_way: Arc::default(), limit }
    }

    /// The addresses of a name; the inner error is that of the operating system.
    pub(super) async fn find(&self, author: &Author, name: &str) -> Result<io::Result<Vec<IpAddr>>, GivenUp> {
        let mut waits_for = GivenUp::Unanswered;
        let found = timeout(self.limit, async {
            loop {
                let mut ended = pin!(self.under_way.ended.notified());
                // Before looking, so that none that ends meanwhile is missed.
                ended.as_mut().enable();
                match self.join_or_begin(author, name) {
                    Ok(running) => {
                        waits_for = GivenUp::Unanswered;
                        return running.await;
                    }
                    Err(full) => waits_for = full,
                }
                ended.await;
            }
        });
        match found.await {
            Err(_) => Err(waits_for),
            Ok(Ok(Ok(addresses))) => Ok(Ok(addresses.to_vec())),
            Ok(Ok(Err(kind))) => Ok(Err(kind.into())),
            Ok(Err(_)) => Ok(Err(io::Error::other("the lookup has ended without an answer"))),
        }
    }

    fn join_or_begin(&self, author: &Author, name: &str) -> Result<Running, GivenUp> {
        let key = (Arc::clone(author), name.to_owned());
        let mut names = self.under_way.names();
        if let Some(running) = names.get(&key) {
            return Ok(running.clone());
        }
        let first = (Arc::clone(author), String::new());
        let own = names.range(first..).take_while(|((whose, _), _)| whose == author).count();
        may_begin(names.len(), own)?;

        let (sender, receiver) = oneshot::channel();
        let running = receiver.shared();
        names.insert(key.clone(), running.clone());
        drop(names);
        let place = Place { under_way: Arc::clone(&self.under_way), key };
        let looking = self.resolver.resolve(name);
        // A task of its own: whoever asked may give up, and the place is taken until this has ended.
        tokio::spawn(async move {
            let found = looking.await.map(Into::into).map_err(|error| error.kind());
            // Nobody is asked for a second time in vain: the place is free when the answer is there.
            drop(place);
            let _ = sender.send(found);
        });
        Ok(running)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{BoxFuture, join_all};

    use super::*;

    #[test]
    fn an_author_has_a_share_and_everybody_a_place() {
        for (all, own, expected) in [
            (0, 0, Ok(())),
            (47, 7, Ok(())),
            (8, 8, Err(GivenUp::OthersOfTheAuthor)),
            (64, 8, Err(GivenUp::OthersOfTheAuthor)),
            (48, 1, Err(GivenUp::Others)),
            (48, 0, Ok(())),
            (63, 0, Ok(())),
            (64, 0, Err(GivenUp::Others)),
        ] {
            assert_eq!(may_begin(all, own), expected, "{all} {own}");
        }
        assert!(GivenUp::OthersOfTheAuthor.problem().starts_with(&format!("{MOST_OF_ONE} other names")));
    }

    /// Answers for names that do not begin with `hangs`, and notes what it was asked.
    #[derive(Default)]
    struct Partly(Mutex<Vec<String>>);

    impl Resolver for Partly {
        fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            self.0.lock().unwrap().push(name.to_owned());
            if name.starts_with("hangs") {
                return Box::pin(std::future::pending());
            }
            Box::pin(async { Ok(vec![[1, 1, 1, 1].into()]) })
        }
    }

    fn lookups() -> (Lookups, Arc<Partly>) {
        let resolver = Arc::new(Partly::default());
        (Lookups::new(Arc::clone(&resolver) as _, Duration::from_secs(4)), resolver)
    }

    /// Has an author ask for so many names that hang, until all are given up.
    async fn hang(lookups: &Lookups, author: &str, names: usize) -> Vec<GivenUp> {
        let author: Author = author.into();
        let names = (0..names).map(|number| format!("hangs-{number}.example"));
        let asked = names.map(|name| {
            let (lookups, author) = (lookups, &author);
            async move { lookups.find(author, &name).await.unwrap_err() }
        });
        join_all(asked).await
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_hang_take_a_share_and_a_neighbours_are_found_at_once() {
        let (lookups, asked) = lookups();
        let given_up = hang(&lookups, "hostile", 200).await;
        let of = |what| given_up.iter().filter(|one| **one == what).count();
        assert_eq!((of(GivenUp::Unanswered), of(GivenUp::OthersOfTheAuthor)), (8, 192));
        let before = tokio::time::Instant::now();
        let found = lookups.find(&"honest".into(), "api.example").await.unwrap().unwrap();
        assert_eq!(found, [IpAddr::from([1, 1, 1, 1])]);
        assert_eq!(before.elapsed(), Duration::ZERO);
        // They hang on, so nobody may ask for more of that author.
        hang(&lookups, "hostile", 200).await;
        assert_eq!(asked.0.lock().unwrap().len(), 8 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_hostile_authors_leave_a_place_for_each_who_asks_for_little() {
        let (lookups, asked) = lookups();
        join_all((0..20).map(async |number| hang(&lookups, &format!("hostile-{number}"), 20).await)).await;
        let under_way = asked.0.lock().unwrap().len();
        assert!(under_way < MOST, "{under_way}");
        assert!(lookups.find(&"honest".into(), "api.example").await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_name_is_asked_for_once_at_a_time_and_a_place_is_free_afterwards() {
        let (lookups, asked) = lookups();
        let author: Author = "hr".into();
        let found = join_all((0..50).map(|_| lookups.find(&author, "api.example"))).await;
        assert!(found.into_iter().all(|found| found.unwrap().is_ok()));
        assert_eq!(asked.0.lock().unwrap().len(), 1);
        for _ in 0..100 {
            lookups.find(&author, "api.example").await.unwrap().unwrap();
        }
        assert!(lookups.under_way.names().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_place_gets_the_next_that_is_free() {
        struct Slow;
        impl Resolver for Slow {
            fn resolve(&self, _name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
                Box::pin(async {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Ok(vec![[1, 1, 1, 1].into()])
                })
            }
        }
        let lookups = Lookups::new(Arc::new(Slow), Duration::from_secs(4));
        let author: Author = "hr".into();
        let names: Vec<String> = (0..24).map(|number| format!("{number}.example")).collect();
        let found = join_all(names.iter().map(|name| lookups.find(&author, name))).await;
        assert!(found.into_iter().all(|found| found.is_ok()), "three times eight, one second each");
    }
}
