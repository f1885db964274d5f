//! Which names are of the public internet.

/// Names that no public DNS resolves: reserved ones (RFC 6761, RFC 6762, RFC 8375, RFC 9476, ICANN's
/// `internal`), and those that clusters, routers and offices use.
const NOT_PUBLIC: [&str; 16] = [
    "alt",
    "cluster.local",
    "corp",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "svc",
    "test",
];

/// Whether the public DNS can have an address for this name (lower case, no trailing dot). What it
/// leads to is another question.
#[must_use]
pub fn is_public_name(name: &str) -> bool {
    let below =
        |upper: &str| name.strip_suffix(upper).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    name.contains('.') && !NOT_PUBLIC.into_iter().any(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clusters_offices_and_hosts_are_not_public() {
        for name in ["api.example.com", "internal.example.com", "my-internal.example", "localhost.example"] {
            assert!(is_public_name(name), "{name}");
        }
        for name in ["", "localhost", "auth", "auth.team.svc", "metadata.google.internal", "a.home.arpa"] {
            assert!(!is_public_name(name), "{name}");
        }
    }
}
