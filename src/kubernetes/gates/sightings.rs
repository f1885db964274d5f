//! Which tokens gates have seen, as news for the engine. Pure.

use std::collections::BTreeMap;

use crate::api::{ObjectKey, SeenToken};
use crate::engine::change::Evidence;

/// The event of an entry that stands for those that are not told apart.
const OTHER: &str = "other";

/// What is new among the tokens of a receiver's status, in the order in which it came. The same again is
/// harmless.
pub(super) fn news(receiver: &ObjectKey, told: &[SeenToken], seen: &[SeenToken]) -> Vec<Evidence> {
    let key = |token: &SeenToken| (token.gate.clone(), token.fingerprint.clone(), token.event.clone());
    let told: BTreeMap<_, _> = told.iter().map(|token| (key(token), token)).collect();
    let mut new: Vec<&SeenToken> =
        seen.iter().filter(|token| told.get(&key(token)).is_none_or(|told| told != token)).collect();
    new.sort_by_key(|token| token.last_seen);
    new.into_iter().flat_map(|token| evidence(receiver, token)).collect()
}

fn evidence(receiver: &ObjectKey, token: &SeenToken) -> Vec<Evidence> {
    let of = |subscription: Option<&String>, event: Option<&String>| Evidence {
        receiver: receiver.clone(),
        fingerprint: token.fingerprint.clone(),
        subscription: subscription.cloned(),
        event: event.cloned(),
        at: token.last_seen,
        retired: token.retired,
    };
    let named = token.subscriptions.iter().map(|name| of(Some(name), None));
    let event = Some(&token.event).filter(|event| *event != OTHER);
    named.chain(token.unnamed.then(|| of(None, event))).collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + 60 * minute, 0).unwrap()
    }

    fn token(gate: &str, fingerprint: &str, event: &str, minute: i64, names: &[&str]) -> SeenToken {
        SeenToken {
            gate: gate.into(),
            fingerprint: fingerprint.into(),
            event: event.into(),
            last_seen: at(minute),
            subscriptions: names.iter().map(|name| (*name).to_owned()).collect(),
            unnamed: names.is_empty(),
            retired: false,
        }
    }

    /// What is told, in short.
    fn told(before: &[SeenToken], now: &[SeenToken]) -> Vec<String> {
        let short = |news: Evidence| {
            let of = |text: Option<String>| text.unwrap_or_else(|| "-".into());
            let how = if news.retired { "refused" } else { "accepted" };
            let minute = (news.at - at(0)).num_minutes();
            format!("{} {} {} {minute} {how}", news.fingerprint, of(news.subscription), of(news.event))
        };
        news(&ObjectKey::new("hr", "gupy"), before, now).into_iter().map(short).collect()
    }

    #[test]
    fn each_new_entry_is_told_once_in_the_order_in_which_it_came() {
        let first = [
            token("a", "f2", "created", 20, &["one", "two"]),
            token("b", "f1", "created", 10, &[]),
            token("b", "f1", "other", 0, &[]),
        ];
        assert_eq!(
            told(&[], &first),
            ["f1 - - 0 accepted", "f1 - created 10 accepted", "f2 one - 20 accepted", "f2 two - 20 accepted"]
        );
        assert_eq!(told(&first, &first), Vec::<String>::new());
        let mut later = first.to_vec();
        later[1].last_seen = at(30);
        assert_eq!(told(&first, &later), ["f1 - created 30 accepted"]);
        later[2].retired = true;
        assert_eq!(told(&first, &later), ["f1 - - 0 refused", "f1 - created 30 accepted"]);
        // Another gate has seen the same.
        let other = [first.to_vec(), vec![token("c", "f1", "created", 10, &[])]].concat();
        assert_eq!(told(&first, &other), ["f1 - created 10 accepted"]);
    }

    #[test]
    fn deliveries_with_and_without_a_name_are_told_apart() {
        let both = SeenToken { unnamed: true, ..token("a", "f", "created", 0, &["one"]) };
        assert_eq!(told(&[], &[both]), ["f one - 0 accepted", "f - created 0 accepted"]);
        let neither = SeenToken { unnamed: false, ..token("a", "f", "created", 0, &[]) };
        assert_eq!(told(&[], &[neither]), Vec::<String>::new());
    }
}
