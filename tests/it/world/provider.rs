//! The provider, as the engine calls it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use hookkeeper::api::{
    ObjectKey, ProviderAuth, SUBSCRIPTION_HEADER, WebhookProviderSpec, WebhookSubscriptionSpec,
};
use hookkeeper::engine::ports::{
    Account, After, Applied, CallFailure, CallFence, Custody, Document, Invalid, Listing, ProviderClient,
    ProviderClients, ProviderProfile, Reading, Refusal, RemoteSubscription,
};
use hookkeeper::rotation::target::short_digest;

use super::conduct::page;
use super::outside::Received;
use super::ports::InFlight;
use super::{CallFault, World};

impl ProviderClients for World {
    fn resolve(
        &self,
        key: &ObjectKey,
        spec: &WebhookProviderSpec,
    ) -> Result<Arc<dyn ProviderClient>, Invalid> {
        let settings = &self.settings;
        let limit = spec.limits.as_ref().and_then(|limits| limits.requests_per_minute);
        let base_url = spec.base_url.clone().unwrap_or_else(|| "https://provider.example.com".into());
        let origin = base_url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let profile = ProviderProfile {
            origin,
            base_url,
            requests_per_minute: limit.map_or(settings.requests_per_minute, i32::cast_unsigned),
            preset_requests_per_minute: None,
            max_concurrent: 16,
            timeout: Duration::from_secs(10),
            overlap: settings.overlap,
            verify_interval: settings.verify_interval,
            settle: Duration::from_secs(300),
            can_list: true,
            can_create: true,
            can_delete: true,
            lists_actions: settings.lists_actions,
            lists_urls: settings.lists_urls,
        };
        let (kept, accounts) = (Arc::default(), Arc::default());
        let (key, auth) = (key.clone(), spec.auth.clone());
        Ok(Arc::new(Provider { world: self.clone(), profile, key, auth, kept, accounts }))
    }
}

struct Provider {
    world: World,
    profile: ProviderProfile,
    key: ObjectKey,
    auth: ProviderAuth,
    /// What becomes of the credential, and whether one is kept.
    kept: Arc<Mutex<(Custody, bool)>>,
    /// Whose credential was read last, and for whom is written.
    accounts: Arc<Mutex<(Option<Account>, Option<Account>)>>,
}

impl Provider {
    /// The credential, where the provider has one of its own; the others share one.
    fn credential(&self) -> Result<Option<String>, Refusal> {
        let Some(bearer) = &self.auth.bearer else {
            return Ok(None);
        };
        let reference = &bearer.secret_key_ref;
        let at = ObjectKey::new(&self.key.namespace, &reference.name);
        let credential = self.world.outside().credentials.get(&at).cloned();
        let missing = || Refusal::SecretNotFound { name: reference.name.clone(), key: reference.key.clone() };
        credential.ok_or_else(missing).map(Some)
    }

    /// Reads the credential, as every call does.
    fn read_account(&self) -> Result<Account, Refusal> {
        let account = match self.credential()? {
            Some(credential) => Account::of_credential(&[&credential]),
            None if self.auth.none.is_some() => Account::of_namespace(&self.key.namespace),
            None => Account::of_credential(&["of everybody"]),
        };
        self.accounts.lock().unwrap().0 = Some(account);
        Ok(account)
    }

    /// Under which name an account's webhook is kept: ids of two accounts may be the same.
    fn stored(&self, id: &str) -> String {
        match self.credential() {
            Ok(Some(credential)) => format!("{credential}:{id}"),
            _ => id.to_owned(),
        }
    }

    /// The id under which an account knows a webhook that is kept.
    fn shown_to(credential: Option<&str>, stored: &str) -> Option<String> {
        match (credential, stored.split_once(':')) {
            (Some(credential), Some((of, id))) if credential == of => Some(id.to_owned()),
            (Some(_), _) | (_, Some(_)) => None,
            (_, None) => Some(stored.to_owned()),
        }
    }

    /// Without its Secret, only what a deletion needs is called, with what is kept.
    fn has_credential(&self, operation: &str) -> Result<(), Refusal> {
        let (custody, is_kept) = *self.kept.lock().unwrap();
        let serves = match operation {
            "delete" => is_kept,
            "list" => is_kept && custody == Custody::Ending,
            _ => false,
        };
        if serves || !self.world.outside().without_credential {
            return Ok(());
        }
        Err(Refusal::SecretNotFound { name: "provider".into(), key: "token".into() })
    }

    /// Waits, and has the call refused, lost or broken where that is asked for.
    async fn call<T>(
        &self,
        operation: &'static str,
        about: &str,
        fence: &CallFence,
        effect: impl FnOnce(&mut super::Outside) -> Result<T, CallFailure>,
    ) -> Result<T, CallFailure> {
        self.world.boundary().await;
        self.has_credential(operation)?;
        self.read_account()?;
        let accounts = *self.accounts.lock().unwrap();
        if operation != "list" && accounts.0 != accounts.1 {
            return Err(Refusal::AccountChanged.into());
        }
        let is_refused = self.credential()?.is_some_and(|credential| credential.starts_with("bogus"));
        let timeout = fence.cut(self.profile.timeout)?;
        let sent = InFlight::new(&self.world, effect);
        self.world.halfway().await;
        let namespace = self.key.namespace.to_string();
        let received = Received { at: self.world.wall(), namespace, operation, about: about.to_owned() };
        self.world.outside().received.push(received);
        if is_refused {
            sent.lose();
            return Err(CallFailure::Status { code: 401, retry_after: None, missing: false });
        }
        let of_author = self.world.outside().conduct.of_call(&self.key, operation, about);
        let fault = of_author.or_else(|| self.world.fault(operation, about));
        if let Some(CallFault::Refused(failure)) = fault {
            sent.lose();
            return Err(failure);
        }
        if let Some(CallFault::Hangs) = fault {
            sent.lose();
            tokio::time::sleep(timeout).await;
            return Err(CallFailure::Unanswered { what: format!("no answer within {timeout:?}") });
        }
        if let Some(CallFault::Slow(longer)) = fault {
            tokio::time::sleep(longer).await;
        }
        if let Some(CallFault::Late(under_way)) = fault {
            self.world.outside().delay = Some(under_way);
            let world = self.world.clone();
            tokio::spawn(async move {
                tokio::time::sleep(under_way).await;
                world.outside().land();
            });
        }
        let result = sent.arrive();
        self.world.boundary().await;
        self.world.halfway().await;
        match fault {
            Some(CallFault::Garbled(failure)) => Err(failure),
            Some(CallFault::Lost | CallFault::Late(_)) => {
                tokio::time::sleep(timeout).await;
                Err(CallFailure::Unanswered { what: format!("no answer within {timeout:?}") })
            }
            Some(CallFault::Panic) => panic!("a step that panics, as the test asked"),
            _ => result,
        }
    }
}

/// The object that deliveries are to name.
fn name_in(spec: &WebhookSubscriptionSpec) -> Option<&str> {
    let header = spec.client_headers.iter().find(|header| header.name == SUBSCRIPTION_HEADER);
    header.and_then(|header| header.value.as_deref())
}

fn missing() -> CallFailure {
    CallFailure::Status { code: 404, retry_after: None, missing: true }
}

impl ProviderClient for Provider {
    fn profile(&self) -> &ProviderProfile {
        &self.profile
    }

    fn check(&self, _: &WebhookSubscriptionSpec) -> Result<(), Invalid> {
        Ok(())
    }

    fn warning(&self, _: &WebhookSubscriptionSpec) -> Option<String> {
        None
    }

    fn document_digest(&self, spec: &WebhookSubscriptionSpec) -> String {
        let active = spec.is_active().to_string();
        let name = name_in(spec).unwrap_or_default();
        short_digest(&[spec.action.as_deref().unwrap_or_default(), &spec.postback_url, &active, name])
    }

    fn document_secrets<'a>(
        &'a self,
        _: &'a str,
        _: &'a WebhookSubscriptionSpec,
    ) -> BoxFuture<'a, Result<Option<String>, Refusal>> {
        Box::pin(async { Ok(None) })
    }

    fn identify(&self) -> BoxFuture<'_, Result<Account, Refusal>> {
        Box::pin(async move {
            self.has_credential("update")?;
            self.read_account()
        })
    }

    fn account(&self) -> Option<Account> {
        self.accounts.lock().unwrap().0
    }

    fn act_for(&self, account: Account) {
        self.accounts.lock().unwrap().1 = Some(account);
    }

    fn keep_credential(&self, custody: Custody) -> BoxFuture<'_, ()> {
        let mut kept = self.kept.lock().unwrap();
        *kept = (custody, kept.1 && custody != Custody::Nothing);
        Box::pin(async {
            let is_there = !self.world.outside().without_credential;
            let mut kept = self.kept.lock().unwrap();
            kept.1 |= is_there && kept.0 != Custody::Nothing;
        })
    }

    fn list<'a>(
        &'a self,
        reading: &'a mut Reading,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Option<Listing>, CallFailure>> {
        let number = reading.page();
        let long = self.world.outside().conduct.long_listings.get(&self.key).copied();
        if let Some((pages, size)) = long {
            return Box::pin(async move {
                self.call("list", &number.to_string(), fence, |_| Ok(())).await?;
                let after = if number < pages { After::Page } else { After::Nothing };
                reading.take_in(page(number, size), after)
            });
        }
        let size = self.world.settings.page_size;
        let credential = self.credential().ok().flatten();
        let about = size.map(|_| number.to_string()).unwrap_or_default();
        let shown = move |stored: &String| Self::shown_to(credential.as_deref(), stored);
        let all = move |outside: &mut super::Outside| {
            outside.lists += 1;
            let now = self.world.at(outside);
            let subscriptions: Vec<_> = outside
                .remotes
                .iter()
                .filter(|(id, _)| outside.is_listed(id, now))
                .filter_map(|(stored, remote)| Some((shown(stored)?, remote)))
                .map(|(id, remote)| RemoteSubscription {
                    id,
                    action: self.profile.lists_actions.then(|| remote.action.clone()),
                    postback_url: self
                        .profile
                        .lists_urls
                        .then(|| format!("{}{}", remote.url, outside.stored_with)),
                    active: Some(remote.active),
                })
                .collect();
            Ok(subscriptions)
        };
        Box::pin(async move {
            let all = self.call("list", &about, fence, all).await?;
            let size = size.unwrap_or(usize::MAX);
            let before = size.saturating_mul(number as usize - 1);
            let after =
                if all.len() > size.saturating_mul(number as usize) { After::Page } else { After::Nothing };
            reading.take_in(all.into_iter().skip(before).take(size).collect(), after)
        })
    }

    fn create<'a>(
        &'a self,
        document: &'a Document,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Applied, CallFailure>> {
        let action = document.spec.action.as_deref().unwrap_or_default();
        let credential = self.credential().ok().flatten();
        Box::pin(self.call("create", action, fence, move |outside| {
            let (spec, now) = (&document.spec, self.world.at(outside));
            let token = document.token.expose();
            outside.named.extend(name_in(spec).map(|name| (action.to_owned(), name.to_owned())));
            let id = outside.create(
                credential.as_deref(),
                action,
                &spec.postback_url,
                spec.is_active(),
                token,
                now,
            );
            Ok(Applied { id: Some(id), secrets: None })
        }))
    }

    fn update<'a>(
        &'a self,
        id: &'a str,
        document: &'a Document,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<Applied, CallFailure>> {
        let action = document.spec.action.as_deref().unwrap_or_default();
        let stored = self.stored(id);
        Box::pin(self.call("update", action, fence, move |outside| {
            let (spec, now) = (&document.spec, self.world.at(outside));
            let token = document.token.expose();
            outside.named.extend(name_in(spec).map(|name| (action.to_owned(), name.to_owned())));
            let found = outside.put(&stored, action, &spec.postback_url, spec.is_active(), token, now);
            if found { Ok(Applied { id: None, secrets: None }) } else { Err(missing()) }
        }))
    }

    fn delete<'a>(
        &'a self,
        _: &'a WebhookSubscriptionSpec,
        id: &'a str,
        fence: &'a CallFence,
    ) -> BoxFuture<'a, Result<(), CallFailure>> {
        let stored = self.stored(id);
        Box::pin(self.call("delete", id, fence, move |outside| {
            outside.deletes += 1;
            outside.remotes.remove(&stored).map(|_| ()).ok_or_else(missing)
        }))
    }
}
