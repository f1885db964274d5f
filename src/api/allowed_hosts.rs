//! How the annotation `hookkeeper.dev/allowed-hosts` of a Secret is written.

/// The hosts of the annotation, separated by commas, with or without blanks.
#[must_use]
pub fn split_hosts(annotation: &str) -> Vec<String> {
    annotation
        .split(',')
        .map(|host| host.trim().to_ascii_lowercase())
        .filter(|host| !host.is_empty())
        .collect()
}

/// The annotation that names these hosts. Without any it is empty, and allows none.
#[must_use]
pub fn join_hosts(hosts: &[String]) -> String {
    hosts.join(",")
}
