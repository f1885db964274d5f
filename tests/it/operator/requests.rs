//! What an API server was asked, by its own count.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use tokio::sync::{Mutex, MutexGuard};

use super::super::cluster::Cluster;

/// A cluster that nobody else asks anything meanwhile.
pub async fn metered() -> MutexGuard<'static, Cluster> {
    static METERED: LazyLock<Mutex<Cluster>> = LazyLock::new(|| {
        let cluster = Cluster::start(&[]);
        cluster.install_definitions();
        Mutex::new(cluster)
    });
    tokio::task::block_in_place(|| LazyLock::force(&METERED)).lock().await
}

/// A kind of request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    pub verb: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
}

impl Request {
    pub fn is_of_ours(&self) -> bool {
        self.group == "hookkeeper.dev"
    }

    /// A write that a controller makes beside the renewals of its lease; the API server keeps objects
    /// of its own.
    pub fn is_write(&self) -> bool {
        !self.is_read() && (self.is_of_ours() || ["secrets", "events"].contains(&&*self.resource))
    }

    pub fn is_read(&self) -> bool {
        ["GET", "LIST", "WATCH"].contains(&&*self.verb)
    }
}

/// How often each was made.
#[derive(Clone, Debug, Default)]
pub struct Requests(BTreeMap<Request, u64>);

impl Requests {
    /// Since the server has begun.
    pub fn at(cluster: &Cluster) -> Self {
        let text = tokio::task::block_in_place(|| cluster.succeed(&["get", "--raw", "/metrics"]));
        let mut requests = Self::default();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let label = |name: &str| {
                let value = line.split_once(&format!("{name}=\"")).unwrap().1;
                value.split('"').next().unwrap().to_owned()
            };
            let request = Request {
                verb: label("verb"),
                group: label(",group"),
                resource: label(",resource"),
                subresource: label("subresource"),
            };
            let count = line.rsplit(' ').next().unwrap();
            *requests.0.entry(request).or_default() += in_full(count);
        }
        assert!(!requests.0.is_empty(), "{text}");
        requests
    }

    pub fn since(&self, before: &Self) -> Self {
        let earlier = |request| before.0.get(request).copied().unwrap_or(0);
        let later = self.0.iter().map(|(request, count)| (request.clone(), count - earlier(request)));
        Self(later.filter(|(_, count)| *count > 0).collect())
    }

    pub fn count(&self, counts: impl Fn(&Request) -> bool) -> u64 {
        self.0.iter().filter(|(request, _)| counts(request)).map(|(_, count)| count).sum()
    }
}

/// A count as Prometheus has it: large ones are written with an exponent.
fn in_full(count: &str) -> u64 {
    let Some((digits, exponent)) = count.split_once("e+") else { return count.parse().unwrap() };
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent: usize = exponent.parse().unwrap();
    format!("{whole}{rest:0<exponent$}").parse().unwrap()
}

#[test]
fn large_counts_are_read_in_full() {
    assert_eq!(["7", "1.234567e+06", "2e+03"].map(in_full), [7, 1_234_567, 2_000]);
}
