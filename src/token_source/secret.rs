//! A token that something else keeps fresh in a Secret.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::statements::Statements;
use super::values::Values;
use super::{answer, expiry};
use crate::api::{SecretKeyReference, SecretTokenSource};
use crate::engine::ports::{MintFailure, Minted, Refusal, SecretValue};
use crate::secret::bounds::Bounds;

/// Reads the token as it is now, and the moment of its expiry if a key for it is given.
///
/// Which provider the token goes to is not known here: the hosts that its Secret names go along,
/// and whoever sends it asks them.
pub(super) async fn read(
    source: &SecretTokenSource,
    values: &Values<'_>,
    assumed: Option<Duration>,
    now: DateTime<Utc>,
) -> Result<Minted, MintFailure> {
    let key = |key: &String| SecretKeyReference { name: source.name.clone(), key: key.clone() };
    let value = values.read(&key(&source.key)).await?;
    let end = match &source.expires_at_key {
        None => None,
        Some(name) => Some((name, values.read(&key(name)).await?)),
    };
    judge(source, value, end, assumed, now)
}

/// Judges what was read.
fn judge(
    source: &SecretTokenSource,
    value: SecretValue,
    end: Option<(&String, SecretValue)>,
    assumed: Option<Duration>,
    now: DateTime<Utc>,
) -> Result<Minted, MintFailure> {
    let mut bounds = Bounds::default();
    let version = value.version.clone();
    let text = value.open(&source.name, &mut bounds);
    let token = answer::usable(text.expose().trim().into(), &source.key)?;
    let mut stated = Statements::default();
    if let Some((key, end)) = end {
        if end.version != version {
            // The token of one version must not get the expiry of another.
            return Err(Refusal::SecretUnavailable {
                name: source.name.clone(),
                what: "it changed while it was read".to_owned(),
            }
            .into());
        }
        let end = end.open(&source.name, &mut bounds);
        let end = expiry::moment(&Value::String(end.expose().to_owned())).ok_or_else(|| {
                answer::unusable(format!(
                    "key {key} of Secret {} holds neither an RFC 3339 time with an offset nor an epoch in seconds or milliseconds; correct it",
                    source.name
                ))
            })?;
        stated.add_end(end, key, now)?;
    }
    stated.add_own(answer::own_end(&token), now)?;
    let lifetime = stated.lifetime(assumed)?;
    Ok(Minted { token, lifetime, version: Some(version), bounds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, version: &str) -> SecretValue {
        SecretValue::new(text.into(), version.to_owned(), None)
    }

    fn judged(
        token: &str,
        end: Option<(&str, &str)>,
        assumed: Option<u64>,
    ) -> Result<Option<u64>, MintFailure> {
        let source =
            SecretTokenSource { name: "kept".to_owned(), key: "token".to_owned(), expires_at_key: None };
        let key = "ends".to_owned();
        let minted = judge(
            &source,
            value(token, "1"),
            end.map(|(text, version)| (&key, value(text, version))),
            assumed.map(Duration::from_secs),
            "2026-11-21T17:00:00Z".parse().unwrap(),
        )?;
        assert_eq!(minted.token.expose(), token.trim());
        assert_eq!(minted.version.as_deref(), Some("1"));
        Ok(minted.lifetime.length().map(|life| life.as_secs()))
    }

    #[test]
    fn a_token_with_and_without_an_end() {
        assert_eq!(judged("abc\n", None, None), Ok(None));
        assert_eq!(judged("abc", None, Some(60)), Ok(Some(60)));
        for end in ["2026-11-21T18:00:00Z\n", "1795284000", "1795284000000"] {
            assert_eq!(judged("abc", Some((end, "1")), Some(60)), Ok(Some(3600)), "{end}");
        }
        let jwt = "e30.eyJleHAiOjE3OTUyODQwMDB9.c2ln";
        assert_eq!(judged(jwt, None, Some(60)), Ok(Some(3600)));
        assert_eq!(judged(jwt, Some(("2026-11-21T17:01:00Z", "1")), None), Ok(Some(60)));
        assert_eq!(judged(jwt, Some(("2026-11-22T17:00:00Z", "1")), None), Ok(Some(3600)), "the earlier end");
        assert_eq!(judged("abc", Some(("0", "1")), Some(60)), Ok(Some(60)));
        assert_eq!(judged("Bearer abc\n", None, None), Ok(None));
    }

    #[test]
    fn what_is_refused() {
        assert!(matches!(judged("", None, None), Err(MintFailure::Unusable { .. })));
        assert!(matches!(judged("a\nb", None, None), Err(MintFailure::Unusable { .. })));
        assert!(matches!(judged("abc", Some(("0", "1")), None), Err(MintFailure::NoLife { .. })));
        assert!(matches!(judged("abc", Some(("soon", "1")), None), Err(MintFailure::Unusable { .. })));
        assert_eq!(
            judged("abc", Some(("2026-11-21T16:00:00Z", "1")), None),
            Err(MintFailure::ExpiredOnArrival)
        );
        assert!(matches!(
            judged("abc", Some(("1795284000", "2")), None),
            Err(MintFailure::Refused(Refusal::SecretUnavailable { .. }))
        ));
    }
}
