//! What the annotation `hookkeeper.dev/allowed-hosts` of a Secret permits.

/// The hosts of the annotation, separated by commas, with or without blanks.
#[must_use]
pub fn split_hosts(annotation: &str) -> Vec<String> {
    annotation
        .split(',')
        .map(|host| host.trim().to_ascii_lowercase())
        .filter(|host| !host.is_empty())
        .collect()
}

/// Whether the list names the host, without regard to case and to a final dot.
///
/// Names are compared whole: a name does not stand for those below it. An international name or an
/// address is named as the `url` crate writes it (`xn--bcher-kva.de`, `[::1]`).
#[must_use]
pub fn names_host(allowed: &[String], host: &str) -> bool {
    let bare = |name: &str| name.trim().trim_end_matches('.').to_ascii_lowercase();
    let host = bare(host);
    // A URL without a host is not one that an empty entry, such as that of `a,,b`, permits.
    !host.is_empty() && allowed.iter().any(|name| bare(name) == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_named_exactly() {
        let allowed = ["auth.example.com", " API.Gupy.io. ", "", "[::1]"].map(str::to_owned);
        for host in ["auth.example.com", "AUTH.example.com.", "api.gupy.io", "[::1]"] {
            assert!(names_host(&allowed, host), "{host}");
        }
        for host in
            ["", ".", "example.com", "x.auth.example.com", "xauth.example.com", "auth.example.com.evil.org"]
        {
            assert!(!names_host(&allowed, host), "{host}");
        }
        assert!(!names_host(&[], "auth.example.com"));
        assert!(!names_host(&[], ""));
    }
}
