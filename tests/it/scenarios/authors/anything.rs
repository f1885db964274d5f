//! Everything at once, drawn from a seed: servers that hang, fail, limit and never end, floods of
//! objects, edits and deletions, tokens that live for milliseconds, ids of other people's webhooks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookkeeper::api::Kind;
use hookkeeper::engine::ports::{Kept, MintFailure};

use super::{Authors, calls, elsewhere, mints, of_other, source, theirs};
use crate::scenarios::flaky::{Dice, seeds};
use crate::scenarios::{HOUR, MINUTE, SECOND, answered, refused};
use crate::world::{CallFault, MintConduct, Settings};

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        let drawn = self.roll() * 1_000 + self.roll();
        usize::try_from(drawn).unwrap() % limit.max(1)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn chance(&mut self, in_a_thousand: u64) -> bool {
        self.roll() < in_a_thousand
    }
}

/// How one of the other author's servers behaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Well,
    Hangs,
    Fails,
    IsBusy,
    RefusesCredentials,
    IsSlow,
    /// Differently each time.
    Anyhow,
    /// Of a token server: its tokens live for so many milliseconds.
    Brief(u64),
}

impl Manner {
    const OF_PLATFORMS: [Self; 7] = [
        Self::Well,
        Self::Hangs,
        Self::Fails,
        Self::IsBusy,
        Self::RefusesCredentials,
        Self::IsSlow,
        Self::Anyhow,
    ];
    const OF_TOKEN_SERVERS: [Self; 9] = [
        Self::Well,
        Self::Hangs,
        Self::Fails,
        Self::IsBusy,
        Self::RefusesCredentials,
        Self::Brief(10),
        Self::Brief(300),
        Self::Brief(1_000),
        Self::Brief(60_000),
    ];

    fn to_call(self, dice: &mut Dice) -> Option<CallFault> {
        match self {
            Self::Well | Self::Brief(_) => None,
            Self::Hangs => Some(CallFault::Hangs),
            Self::Fails => Some(refused(500)),
            Self::IsBusy => Some(CallFault::Refused(answered(429, Some(HOUR)))),
            Self::RefusesCredentials => Some(refused(401)),
            Self::IsSlow => Some(CallFault::Slow(8 * SECOND)),
            Self::Anyhow => {
                let other = dice.one(&Self::OF_PLATFORMS);
                if dice.chance(500) || matches!(other, Self::Anyhow) { None } else { other.to_call(dice) }
            }
        }
    }

    fn to_mint(self) -> MintConduct {
        let answered = |code, retry_after, credential_refused| {
            MintConduct::Refuses(MintFailure::Status {
                code,
                retry_after,
                credential_refused,
                oauth_error: None,
            })
        };
        match self {
            Self::Hangs => MintConduct::Hangs,
            Self::Fails => answered(500, None, false),
            Self::IsBusy => answered(429, Some(HOUR), false),
            Self::RefusesCredentials => answered(401, None, true),
            Self::Brief(life) => MintConduct::Lives(Duration::from_millis(life)),
            _ => MintConduct::Lives(HOUR),
        }
    }
}

/// What the other author has and does.
struct Rascal {
    dice: Dice,
    platforms: Arc<Mutex<BTreeMap<String, Manner>>>,
    providers: Vec<String>,
    sources: Vec<String>,
    subscriptions: Vec<String>,
    /// How many objects have been made so far.
    made: usize,
}

impl Rascal {
    async fn arrive(authors: &Authors, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let platforms = Arc::<Mutex<BTreeMap<String, Manner>>>::default();
        let (of_calls, mut of_each) = (Arc::clone(&platforms), Dice(seed ^ 0xca11));
        calls(&authors.world, move |provider, _, _| {
            let manner = of_calls.lock().unwrap().get(provider).copied();
            manner.unwrap_or(Manner::Well).to_call(&mut of_each)
        });
        // Three manners at the most: a server of each would leave little of any.
        let manners = [0; 3].map(|_| dice.one(&Manner::OF_TOKEN_SERVERS));
        mints(&authors.world, move |about| {
            let number: usize = about.bytes().map(usize::from).sum();
            Some(manners[number % manners.len()].to_mint())
        });
        let mut rascal =
            Self { dice, platforms, providers: vec![], sources: vec![], subscriptions: vec![], made: 0 };
        let hosts = rascal.dice.one(&[0, 1, 10, 120]);
        for number in 0..1 + rascal.dice.below(3) + hosts {
            rascal.provider(authors, number >= hosts).await;
        }
        for _ in 0..rascal.dice.one(&[1, 20, 200]) {
            rascal.source(authors).await;
        }
        // Two thousand are one seed in twenty.
        let few = rascal.dice.one(&[20, 60, 200]);
        for _ in 0..if rascal.dice.chance(50) { 2_000 } else { few } {
            rascal.subscription(authors).await;
        }
        rascal
    }

    fn name(&mut self) -> String {
        self.made += 1;
        format!("of-other-{}", self.made)
    }

    /// At the host that the honest author uses too, or at one of its own.
    async fn provider(&mut self, authors: &Authors, shared: bool) {
        let name = self.name();
        let manner = self.dice.one(&Manner::OF_PLATFORMS);
        self.platforms.lock().unwrap().insert(name.clone(), manner);
        if self.dice.chance(200) {
            let pages = u32::try_from(self.dice.one(&[2, 40, 900, 5_000])).unwrap();
            let of = (pages, self.dice.one(&[0, 1, 100]));
            authors.world.outside().conduct.long_listings.insert(theirs(&name), of);
        }
        let spec = if shared { Default::default() } else { elsewhere(&name) };
        authors.provider(&name, spec).await;
        self.providers.push(name);
    }

    async fn source(&mut self, authors: &Authors) {
        let name = self.name();
        let timeout = self.dice.one(&[None, Some("60s")]);
        authors.source(&name, source(&name, timeout)).await;
        self.sources.push(name);
    }

    async fn subscription(&mut self, authors: &Authors) {
        let name = self.name();
        let (provider, of) = (self.dice.below(self.providers.len()), self.dice.below(self.sources.len()));
        let mut spec = of_other(&name, &self.providers[provider], &self.sources[of]);
        // The honest author's are called so.
        let id = 1 + self.dice.below(10);
        spec.webhook_id = self.dice.chance(150).then(|| format!("remote-{id}"));
        spec.suspend = self.dice.chance(50).then_some(true);
        authors.declare(&name, spec).await;
        self.subscriptions.push(name);
    }

    /// What is done every now and then.
    async fn act(&mut self, authors: &Authors) {
        match self.dice.below(8) {
            0 => {
                for _ in 0..self.dice.below(60) {
                    self.subscription(authors).await;
                }
            }
            1 => self.delete(authors, Kind::WebhookSubscription, 60).await,
            2 => {
                self.delete(authors, Kind::WebhookProvider, 10).await;
                for _ in 0..1 + self.dice.below(10) {
                    let shared = self.dice.chance(300);
                    self.provider(authors, shared).await;
                }
            }
            3 => {
                self.delete(authors, Kind::TokenSource, 10).await;
                for _ in 0..1 + self.dice.below(10) {
                    self.source(authors).await;
                }
            }
            4 => {
                for _ in 0..self.dice.below(100) {
                    self.edit(authors, |spec, number| {
                        spec.postback_url = format!("https://integrations.example.com/{number}");
                    })
                    .await;
                }
            }
            5 => {
                for _ in 0..self.dice.below(60) {
                    self.edit(authors, |spec, number| spec.suspend = Some(number % 2 == 0)).await;
                }
            }
            6 => {
                let manner = self.dice.one(&Manner::OF_PLATFORMS);
                let mut platforms = self.platforms.lock().unwrap();
                platforms.values_mut().for_each(|it| *it = manner);
            }
            _ => {}
        }
    }

    async fn delete(&mut self, authors: &Authors, kind: Kind, most: usize) {
        for _ in 0..self.dice.below(most) {
            let names = match kind {
                Kind::WebhookProvider => &mut self.providers,
                Kind::TokenSource => &mut self.sources,
                Kind::WebhookSubscription => &mut self.subscriptions,
                // The engine has nothing to do with it.
                Kind::WebhookReceiver => return,
            };
            if names.len() < 2 {
                return;
            }
            let name = names.swap_remove(self.dice.below(names.len()));
            authors.gone(kind, &name).await;
        }
    }

    async fn edit(
        &mut self,
        authors: &Authors,
        change: impl FnOnce(&mut hookkeeper::api::WebhookSubscriptionSpec, usize),
    ) {
        let name = &self.subscriptions[self.dice.below(self.subscriptions.len())];
        let mut spec = authors.world.outside().subscriptions[&theirs(name)].1.clone();
        change(&mut spec, self.dice.below(1_000));
        authors.declare(name, spec).await;
    }

    /// Everything is deleted.
    async fn leave(&mut self, authors: &Authors) {
        for name in self.subscriptions.drain(..) {
            authors.gone(Kind::WebhookSubscription, &name).await;
        }
        for name in self.providers.drain(..) {
            authors.gone(Kind::WebhookProvider, &name).await;
        }
        for name in self.sources.drain(..) {
            authors.gone(Kind::TokenSource, &name).await;
        }
    }

    /// What is kept is in proportion to what is declared, and not to what has passed or was answered.
    fn assert_bounded(&self, kept: Kept, seed: u64) {
        let most = |declared: usize| 10 + 2 * declared;
        let (subscriptions, made) = (self.subscriptions.len(), self.made);
        assert!(kept.subscriptions <= most(subscriptions), "seed {seed}: {kept:?} of {subscriptions}");
        assert!(kept.claims <= 2 * most(subscriptions), "seed {seed}: {kept:?} of {subscriptions}");
        assert!(kept.providers <= most(made) && kept.sources <= most(made), "seed {seed}: {kept:?}");
        assert!(kept.tokens <= 3 * most(self.sources.len()), "seed {seed}: {kept:?}");
        assert!(kept.namespaces <= 2, "seed {seed}: {kept:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_one_author_does_the_other_notices_nothing() {
    for seed in seeds(4) {
        let mut dice = Dice(!seed);
        let requests_per_minute = dice.one(&[120, 600, 60_000]);
        let settings = Settings { requests_per_minute, ..Settings::default() };
        let mut authors = Authors::in_place(settings).await;
        authors.world.pass(2 * MINUTE).await;
        let before = authors.kept();
        let mut rascal = Rascal::arrive(&authors, seed).await;
        let restarts = dice.chance(250).then(|| dice.below(20));
        let mut passed = Duration::ZERO;
        for round in 0..20 {
            let pause = SECOND * u32::try_from(1 + dice.below(40)).unwrap();
            authors.world.pass(pause).await;
            passed += pause;
            rascal.act(&authors).await;
            if restarts == Some(round) {
                let (world, harm) = (authors.world.clone(), authors.harm);
                authors.engine.kill().await;
                authors = Authors::start(world);
                authors.harm.lock().unwrap().extend(std::mem::take(&mut *harm.lock().unwrap()));
            }
        }
        let about = format!("seed {seed}, {requests_per_minute} a minute, restart {restarts:?}");
        authors.assert_unharmed(&about);
        authors.assert_rotated(passed);
        // What was deleted just now may have a call under way.
        authors.world.pass(3 * MINUTE).await;
        rascal.assert_bounded(authors.kept(), seed);
        rascal.leave(&authors).await;
        authors.world.pass(3 * HOUR).await;
        authors.assert_unharmed(&about);
        assert_eq!(authors.kept(), before, "{about}: of the other author nothing is left");
    }
}
