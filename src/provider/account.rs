//! Whose credential it is that a provider is called with.

use super::credentials::Credential;
use super::kept::Headers;
use crate::engine::ports::Account;

/// The account of a credential that has been read. What stands in the object itself is no secret, and
/// tells nobody apart.
pub(super) fn account_of(credential: &Credential, headers: &Headers, namespace: &str) -> Account {
    let texts = secret_texts(credential, headers);
    if texts.is_empty() { Account::of_namespace(namespace) } else { Account::of_credential(&texts) }
}

/// What of a credential comes from Secrets, without the scheme that stands before it: a token is the
/// same in whichever header it is sent.
pub(super) fn secret_texts<'a>(credential: &Credential, headers: &'a Headers) -> Vec<&'a str> {
    let values = headers.headers.iter().map(|(_, value)| value.expose());
    let mut texts: Vec<&str> = match credential {
        Credential::None => Vec::new(),
        Credential::Bearer(_) | Credential::Basic { .. } => values.map(without_scheme).collect(),
        Credential::Headers(written) => {
            let of_secrets =
                written.iter().zip(values).filter(|((_, header), _)| header.value_from.is_some());
            let texts = of_secrets.map(|((_, header), value)| {
                let prefix = header.value_from.as_ref().and_then(|from| from.prefix.as_deref());
                without_scheme(value.strip_prefix(prefix.unwrap_or_default()).unwrap_or(value))
            });
            texts.collect()
        }
    };
    texts.sort_unstable();
    texts
}

fn without_scheme(value: &str) -> &str {
    let schemes = ["Bearer ", "Basic ", "Token "];
    let starts =
        |scheme: &&str| value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    schemes.iter().find(|scheme| starts(scheme)).map_or(value, |scheme| value[scheme.len()..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ProviderAuth;
    use crate::http::HeaderName;
    use crate::secret::bounds::Bounds;

    fn account(auth: &str, headers: &[(&'static str, &str)], namespace: &str) -> Account {
        let auth: ProviderAuth = serde_json::from_str(auth).unwrap();
        let credential = Credential::parse(&auth).unwrap();
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), (*value).into())).collect();
        let headers = Headers { headers, bounds: Bounds::default() };
        account_of(&credential, &headers, namespace)
    }

    #[test]
    fn a_secret_is_one_account_in_whichever_header_it_is_sent() {
        let reference = r#"{"secretKeyRef":{"name":"a","key":"b"}}"#;
        let bearer = format!(r#"{{"bearer":{reference}}}"#);
        let header = format!(r#"{{"headers":[{{"name":"x-key","valueFrom":{reference}}}]}}"#);
        let prefixed = r#"{"headers":[{"name":"authorization","valueFrom":{"prefix":"Key ","secretKeyRef":{"name":"c","key":"d"}}}]}"#;
        let same = [
            account(&bearer, &[("authorization", "Bearer token")], "one"),
            account(&header, &[("x-key", "token")], "two"),
            account(prefixed, &[("authorization", "Key token")], "three"),
        ];
        assert!(same.iter().all(|account| *account == same[0]));
        assert_ne!(same[0], account(&bearer, &[("authorization", "Bearer other")], "one"));
    }

    #[test]
    fn without_a_secret_the_namespace_is_the_account() {
        let literal = r#"{"headers":[{"name":"x-version","value":"1"}]}"#;
        for auth in [r#"{"none":{}}"#, literal] {
            let of = |namespace| account(auth, &[("x-version", "1")], namespace);
            assert_eq!(of("one"), of("one"), "{auth}");
            assert_ne!(of("one"), of("two"), "{auth}");
        }
    }
}
