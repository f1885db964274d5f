//! Which postback URLs a provider takes.

use url::{Host, Url};

use super::field::Field;
use crate::api::Postback;
use crate::engine::ports::Invalid;
use crate::http::is_public_name;

/// The longest URL, in bytes.
const MAX_URL: usize = 2048;

/// Which postback URLs a provider takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PostbackRules {
    allow_http: bool,
    public_host: bool,
    warn_hosts: Vec<String>,
}

impl PostbackRules {
    pub(super) fn new(written: &Postback, field: &Field) -> Result<Self, Invalid> {
        let hosts = written.warn_hosts.as_deref().unwrap_or_default();
        let hosts =
            hosts.iter().enumerate().map(|(index, host)| match Host::parse(host.trim_end_matches('.')) {
                Ok(Host::Domain(name)) => Ok(name),
                _ => Err(field.child("warnHosts").item(index).invalid("write a host name only")),
            });
        Ok(Self {
            allow_http: written.allow_http.unwrap_or(false),
            public_host: written.public_host.unwrap_or(false),
            warn_hosts: hosts.collect::<Result<_, _>>()?,
        })
    }

    /// Checks a postback URL.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub(super) fn check(&self, text: &str) -> Result<(), Invalid> {
        let field = Field::new("spec.postbackUrl");
        if text.len() > MAX_URL {
            return Err(field.invalid(format!("the URL is longer than {MAX_URL} bytes")));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(field.invalid("the URL holds a blank, a control character or a backslash"));
        }
        let url = Url::parse(text).map_err(|_| {
            field.invalid("write an absolute URL, such as https://integrations.example.com/gate")
        })?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => {
                return Err(field.invalid(
                    "the provider takes https only; for a receiver inside the own network set postback.allowHttp of the WebhookProvider",
                ));
            }
            _ => return Err(field.invalid("the scheme must be https")),
        }
        // `https:host` and `https:///host` are read as `https://host` by some and not by others.
        let authority = text.get(url.scheme().len() + 3..).unwrap_or_default();
        if !text.get(url.scheme().len()..).unwrap_or_default().starts_with("://")
            || authority.starts_with('/')
        {
            return Err(field.invalid("after the scheme follow :// and the host"));
        }
        if authority.split(['/', '?', '#']).next().unwrap_or_default().contains('@') {
            return Err(field.invalid("the URL cannot hold a user name or password; use clientHeaders"));
        }
        if url.fragment().is_some() {
            return Err(field.invalid("the URL cannot have a fragment (#…)"));
        }
        if self.public_host && !host_name(&url).is_some_and(is_public_name) {
            return Err(field.invalid(
                "the provider reaches public DNS names only: no IP addresses, and no names of the own network or cluster",
            ));
        }
        Ok(())
    }

    /// A warning for a URL that is taken but likely a mistake.
    pub(super) fn warning(&self, text: &str) -> Option<String> {
        let url = Url::parse(text).ok()?;
        let name = host_name(&url)?;
        let catcher = self.warn_hosts.iter().find(|host| is_below(name, host))?;
        Some(format!(
            "spec.postbackUrl: the URL leads to {catcher}, which shows what it receives, tokens included, to others; use it for tests only"
        ))
    }
}

/// The host as a name without the final dot; `None` for an address. The `url` crate has turned
/// every spelling of an IPv4 address (`2130706433`, `0x7f.1`) into one by now.
fn host_name(url: &Url) -> Option<&str> {
    match url.host()? {
        Host::Domain(name) => Some(name.trim_end_matches('.')),
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

/// Whether the name is the other one or one below it. Both are in lower case.
fn is_below(name: &str, upper: &str) -> bool {
    name.strip_suffix(upper).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow_http: bool, public_host: bool) -> PostbackRules {
        let written = Postback {
            allow_http: Some(allow_http),
            public_host: Some(public_host),
            warn_hosts: Some(vec!["Webhook.site".into()]),
        };
        PostbackRules::new(&written, &Field::new("spec.postback")).unwrap()
    }

    #[test]
    fn https_unless_http_is_allowed() {
        assert!(rules(false, false).check("https://gate/x?y=1").is_ok());
        assert!(rules(false, false).check("http://gate/").is_err());
        assert!(rules(true, false).check("http://gate/").is_ok());
        for text in [
            "",
            "gate.example.com",
            "ftp://gate.example.com",
            "https:gate.example.com",
            "https:///gate.example.com",
            "https://",
            "https://user@gate.example.com",
            "https://@gate.example.com",
            "https://:p@gate.example.com",
            "https://gate.example.com/#x",
            "https://gate.example.com/#",
            "https://gate.example.com/a b",
            "https://gate.example.com/\n",
            "https://gate.example.com\\x",
            "https://gate.example.com:99999",
        ] {
            assert!(rules(true, false).check(text).is_err(), "{text}");
        }
        let long = format!("https://gate.example.com/{}", "a".repeat(MAX_URL));
        assert!(rules(true, false).check(&long).is_err());
    }

    #[test]
    fn a_public_host_is_a_public_dns_name() {
        for host in [
            "integrations.example.com",
            "example.com:8443",
            "gupy.integrations.example",
            "xn--bcher-kva.de",
            "bücher.de",
            "local.example.com",
            "svc.example.com.",
            "notlocal.de",
            "mylocal.network",
        ] {
            assert_eq!(rules(false, true).check(&format!("https://{host}/a")), Ok(()), "{host}");
        }
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "8.8.8.8",
            "8.8.8.8.",
            "[::1]",
            "[::ffff:7f00:1]",
            "[2001:db8::1]",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "gate",
            "gate.",
            "printer.local",
            "db.internal",
            "gate.ns.svc",
            "gate.ns.svc.cluster.local",
            "x.home.arpa",
            "x.lan",
            "x.test",
            "x.invalid",
            "%6c%6fcalhost",
            "１２７.0.0.1",
            "ⅼocalhost",
        ] {
            assert!(rules(false, true).check(&format!("https://{host}/a")).is_err(), "{host}");
        }
    }

    #[test]
    fn a_catcher_and_what_is_below_it_draw_a_warning() {
        let rules = rules(false, false);
        for (url, warned) in [
            ("https://webhook.site/canary", true),
            ("https://a.WEBHOOK.site./canary", true),
            ("https://notwebhook.site/", false),
            ("https://webhook.site.example.com/", false),
            ("https://127.0.0.1/", false),
        ] {
            let warning = rules.warning(url);
            assert_eq!(warning.is_some(), warned, "{url}");
            assert!(!warning.unwrap_or_default().contains("canary"));
        }
    }
}
