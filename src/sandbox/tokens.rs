//! The token server's memory: clients, and every token it issued.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::clock::after;
use super::random::Random;
use super::trial::TRIAL_TOKEN_PREFIX;
use crate::secret::SecretText;

/// Dead tokens are forgotten beyond this many, so that a sandbox that runs for weeks stays small.
const REMEMBERED_TOKENS: usize = 100_000;

/// A client of the token server.
#[derive(Clone, Debug)]
pub struct Client {
    /// `client_id` (RFC 6749).
    pub id: String,
    /// `client_secret` (RFC 6749).
    pub secret: SecretText,
    /// How long a token lives; `expires_in` says it in whole seconds.
    pub token_life: Duration,
    /// Whether issuing a token revokes the client's previous ones.
    pub revokes_previous: bool,
}

/// A change to a client while the sandbox runs; what is absent stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientChange {
    /// A disabled client is refused with `invalid_client`.
    pub enabled: Option<bool>,
    /// The new secret.
    #[serde(deserialize_with = "secret")]
    pub secret: Option<SecretText>,
    /// The life of tokens issued from now on, in seconds.
    pub token_life_seconds: Option<u64>,
    /// Whether issuing ends the previous token's life from now on.
    pub revokes_previous: Option<bool>,
}

fn secret<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<SecretText>, D::Error> {
    Ok(Option::<String>::deserialize(source)?.map(SecretText::new))
}

/// Why a token no longer opens anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Death {
    /// Its life is over.
    Expired,
    /// A newer token of the same client ended it.
    Revoked,
}

/// One issued token, known by its label; its text is not kept.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) label: String,
    pub(super) expires: DateTime<Utc>,
    revoked: OnceLock<DateTime<Utc>>,
}

impl Token {
    /// From when on the token is dead, as far as is known, and why.
    pub(super) fn death(&self) -> (DateTime<Utc>, Death) {
        match self.revoked.get() {
            Some(revoked) if *revoked < self.expires => (*revoked, Death::Revoked),
            _ => (self.expires, Death::Expired),
        }
    }

    /// Why the token is dead at `now`; `None` while it lives. It is dead from the very moment of
    /// its expiry on.
    pub(super) fn dead(&self, now: DateTime<Utc>) -> Option<Death> {
        let (from, death) = self.death();
        (from <= now).then_some(death)
    }
}

/// A token that was just issued.
pub(super) struct Issued {
    pub(super) text: String,
    pub(super) token: Arc<Token>,
    /// `expires_in`.
    pub(super) seconds: u64,
}

struct ClientState {
    client: Client,
    enabled: bool,
    /// What the next issue revokes. Only the living matter: a client that starts to revoke later
    /// ends every token it still has.
    issued: Vec<Arc<Token>>,
}

/// Clients and tokens.
pub(super) struct TokenServer {
    clients: BTreeMap<String, ClientState>,
    /// By digest: the texts themselves are nobody's business once they were answered.
    known: HashMap<[u8; 32], Arc<Token>>,
    oldest_first: VecDeque<[u8; 32]>,
}

impl TokenServer {
    pub(super) fn new(clients: Vec<Client>) -> Self {
        let clients = clients
            .into_iter()
            .map(|client| {
                let state = ClientState { client, enabled: true, issued: Vec::new() };
                (state.client.id.clone(), state)
            })
            .collect();
        Self { clients, known: HashMap::new(), oldest_first: VecDeque::new() }
    }

    /// Issues a token, or `None` when the client is unknown, disabled or names a wrong secret.
    pub(super) fn issue(
        &mut self,
        now: DateTime<Utc>,
        id: &str,
        secret: &str,
        random: &mut Random,
    ) -> Option<Issued> {
        let state = self.clients.get_mut(id)?;
        if !state.enabled || state.client.secret.expose() != secret {
            return None;
        }
        state.issued.retain(|token| token.dead(now).is_none());
        if state.client.revokes_previous {
            for token in state.issued.drain(..) {
                // Set once: a token is not revoked twice, the drain sees to that.
                let _ = token.revoked.set(now);
            }
        }
        let text = format!("{TRIAL_TOKEN_PREFIX}{}", random.unguessable());
        let token = Arc::new(Token {
            label: random.label(),
            expires: after(now, state.client.token_life),
            revoked: OnceLock::new(),
        });
        state.issued.push(Arc::clone(&token));
        let seconds = state.client.token_life.as_secs();
        let digest = digest(&text);
        self.known.insert(digest, Arc::clone(&token));
        self.oldest_first.push_back(digest);
        self.forget(now);
        Some(Issued { text, token, seconds })
    }

    fn forget(&mut self, now: DateTime<Utc>) {
        while self.oldest_first.len() > REMEMBERED_TOKENS {
            let Some(oldest) = self.oldest_first.front() else {
                return;
            };
            if self.known.get(oldest).is_some_and(|token| token.dead(now).is_none()) {
                return;
            }
            self.known.remove(oldest);
            self.oldest_first.pop_front();
        }
    }

    /// The token that a header value is, bare or after `Bearer `.
    pub(super) fn find(&self, header_value: &str) -> Option<&Arc<Token>> {
        let bare = match header_value.split_at_checked(7) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer ") => rest.trim(),
            _ => header_value,
        };
        self.known.get(&digest(bare))
    }

    /// Changes a client; false when there is none of that name.
    pub(super) fn change(&mut self, id: &str, change: ClientChange) -> bool {
        let Some(state) = self.clients.get_mut(id) else {
            return false;
        };
        if let Some(enabled) = change.enabled {
            state.enabled = enabled;
        }
        if let Some(secret) = change.secret {
            state.client.secret = secret;
        }
        if let Some(seconds) = change.token_life_seconds {
            state.client.token_life = Duration::from_secs(seconds);
        }
        if let Some(revokes) = change.revokes_previous {
            state.client.revokes_previous = revokes;
        }
        true
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(revokes_previous: bool) -> TokenServer {
        TokenServer::new(vec![Client {
            id: "a".into(),
            secret: "s".into(),
            token_life: Duration::from_secs(60),
            revokes_previous,
        }])
    }

    fn issue(server: &mut TokenServer, now: DateTime<Utc>, random: &mut Random) -> Issued {
        server.issue(now, "a", "s", random).unwrap()
    }

    #[test]
    fn a_token_lives_until_the_moment_of_its_expiry() {
        let (mut server, mut random, now) = (server(false), Random::seeded(1), Utc::now());
        let token = issue(&mut server, now, &mut random).token;
        assert_eq!(token.dead(after(now, Duration::from_millis(59_999))), None);
        assert_eq!(token.dead(after(now, Duration::from_secs(60))), Some(Death::Expired));
    }

    #[test]
    fn issuing_revokes_only_when_told_so() {
        let later = after(Utc::now(), Duration::from_secs(1));
        for revokes in [false, true] {
            let (mut server, mut random, now) = (server(revokes), Random::seeded(1), Utc::now());
            let first = issue(&mut server, now, &mut random).token;
            let second = issue(&mut server, later, &mut random).token;
            assert_eq!(first.dead(later), revokes.then_some(Death::Revoked));
            assert_eq!(second.dead(later), None);
            assert_eq!(first.expires, after(now, Duration::from_secs(60)));
        }
    }

    #[test]
    fn revoking_a_dead_token_leaves_its_death_as_it_was() {
        let (mut server, mut random, now) = (server(true), Random::seeded(1), Utc::now());
        let first = issue(&mut server, now, &mut random).token;
        issue(&mut server, after(now, Duration::from_secs(90)), &mut random);
        assert_eq!(first.death(), (after(now, Duration::from_secs(60)), Death::Expired));
    }

    #[test]
    fn a_token_is_found_bare_and_as_bearer_and_not_otherwise() {
        let (mut server, mut random) = (server(false), Random::seeded(1));
        let issued = issue(&mut server, Utc::now(), &mut random);
        for value in [issued.text.clone(), format!("Bearer {}", issued.text)] {
            let found = server.find(&value).unwrap();
            assert_eq!(found.label, issued.token.label);
        }
        assert!(server.find(&format!("x{}", issued.text)).is_none());
        assert!(server.find("").is_none());
        assert!(server.find("ééééé").is_none());
    }

    #[test]
    fn wrong_secrets_and_disabled_clients_are_refused() {
        let (mut server, mut random, now) = (server(false), Random::seeded(1), Utc::now());
        assert!(server.issue(now, "a", "wrong", &mut random).is_none());
        assert!(server.issue(now, "b", "s", &mut random).is_none());
        let off = ClientChange { enabled: Some(false), ..ClientChange::default() };
        assert!(server.change("a", off));
        assert!(server.issue(now, "a", "s", &mut random).is_none());
        assert!(!server.change("b", ClientChange::default()));
    }
}
