//! The proxy as the command line names it, and as the environment may name it in vain.

use std::ffi::{OsStr, OsString};

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;

use crate::http::{InvalidProxy, ProxyUrl};

/// Variables that other programs take a proxy from, in any case.
const VARIABLES: [&str; 3] = ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"];

/// Reads the URL of a proxy. What clap itself says of a wrong value repeats it, and a password may
/// stand in this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProxyParser;

impl TypedValueParser for ProxyParser {
    type Value = ProxyUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let parsed = value.to_str().ok_or(InvalidProxy::Form).and_then(str::parse);
        parsed.map_err(|problem| {
            let text = format!("the value of --proxy {problem}");
            clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}

/// What is said at the start of a process without `--proxy` whose environment names a proxy. Only
/// the names of the variables are told: their values may hold a password.
pub(super) fn unused(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Option<String> {
    let mut names: Vec<String> = environment
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| VARIABLES.contains(&name.to_ascii_uppercase().as_str()))
        .collect();
    names.sort_unstable();
    let (verb, names) = match names.as_slice() {
        [] => return None,
        [name] => ("is", name.clone()),
        [others @ .., last] => ("are", format!("{} and {last}", others.join(", "))),
    };
    Some(format!(
        "{names} {verb} set, and not used for calls to providers and token servers; if these must go through a \
         proxy, start with --proxy http://HOST:PORT"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(variables: &[(&str, &str)]) -> Option<String> {
        unused(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn a_proxy_of_the_environment_is_told_by_its_name_alone() {
        assert_eq!(said(&[("PATH", "/bin"), ("NO_PROXY", "*"), ("HTTPS_PROXY", "")]), None);
        for name in ["HTTPS_PROXY", "https_proxy", "Http_Proxy", "all_proxy"] {
            let said = said(&[(name, "http://user:canary@proxy:3128")]).unwrap();
            assert!(said.starts_with(&format!("{name} is set, and not used")), "{said}");
            assert!(said.contains("--proxy") && !said.contains("canary"), "{said}");
        }
        let several = said(&[("https_proxy", "a"), ("HTTPS_PROXY", "a"), ("ALL_PROXY", "a")]).unwrap();
        assert!(several.starts_with("ALL_PROXY, HTTPS_PROXY and https_proxy are set"), "{several}");
    }
}
