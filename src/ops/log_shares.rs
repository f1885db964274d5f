//! What the objects of one namespace can make us log: a share, so that nobody's flood costs another's
//! lines, nor fills the disk.
//!
//! A line is about a namespace when one of its fields is `NAMESPACE/NAME`, whatever the field is called:
//! no place that logs has to think of it.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

use super::shares::{Share, Shares};

/// Of a namespace's lines at `info` and above: 36,000 an hour, and 10,000 at once, as when a token
/// is brought to that many subscriptions.
const LINES: Share = Share { burst: 10_000, each_second: 10, owners: 4_096 };
/// How often what was left out is told.
pub const TOLD_EVERY: Duration = Duration::from_secs(60);
/// How many namespaces are named at a time.
const NAMED: usize = 32;

/// The shares of all namespaces. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogShares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    lines: Mutex<Shares>,
    /// Lines below `info`, apart: more detail costs nobody the lines that matter.
    detail: Mutex<Shares>,
}

impl Default for LogShares {
    fn default() -> Self {
        Self::new(LINES)
    }
}

impl LogShares {
    pub(super) fn new(share: Share) -> Self {
        let shares = || Mutex::new(Shares::new(share));
        Self(Arc::new(Inner { start: Instant::now(), lines: shares(), detail: shares() }))
    }

    fn fits(&self, level: Level, namespace: &str) -> bool {
        let shares = if level <= Level::INFO { &self.0.lines } else { &self.0.detail };
        let mut shares = shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.take(namespace, self.0.start.elapsed())
    }

    /// Logs how many lines about which namespaces were left out since the last time.
    pub fn tell(&self) {
        let now = self.0.start.elapsed();
        for (shares, of) in [(&self.0.lines, "lines"), (&self.0.detail, "lines of detail")] {
            let left_out = shares.lock().unwrap_or_else(PoisonError::into_inner).left_out(now);
            for (namespace, count) in left_out.iter().take(NAMED) {
                tracing::warn!(
                    namespace,
                    "{count} {of} about objects of this namespace were left out: they were more than its share"
                );
            }
            if let Some(rest) = left_out.get(NAMED..).filter(|rest| !rest.is_empty()) {
                let count: u64 = rest.iter().map(|(_, count)| count).sum();
                let namespaces = rest.len();
                tracing::warn!(namespaces, "{count} {of} about objects of further namespaces were left out");
            }
        }
    }

    /// Tells once a minute, without end.
    pub async fn keep_telling(self) {
        loop {
            tokio::time::sleep(TOLD_EVERY).await;
            self.tell();
        }
    }
}

impl<S> Filter<S> for LogShares {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        // Not `always`: the registry then takes an event that is left out after all for a mistake.
        Interest::sometimes()
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let mut owner = Owner::default();
        event.record(&mut owner);
        owner.namespace.is_none_or(|namespace| self.fits(*event.metadata().level(), &namespace))
    }
}

/// Looks for the namespace that an event is about.
#[derive(Default)]
struct Owner {
    namespace: Option<String>,
}

impl Owner {
    fn look(&mut self, text: &str) {
        if self.namespace.is_none() {
            self.namespace = namespace(text).map(str::to_owned);
        }
    }
}

impl Visit for Owner {
    fn record_str(&mut self, _: &Field, value: &str) {
        self.look(value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // The message is long, and what it is about stands in the other fields.
        if self.namespace.is_some() || field.name() == "message" {
            return;
        }
        let mut text = String::new();
        // Writing into a text does not fail.
        let _ = write!(text, "{value:?}");
        self.look(&text);
    }
}

/// The first part of `NAMESPACE/NAME`, in the characters that names of objects are made of.
fn namespace(text: &str) -> Option<&str> {
    let is_name = |part: &str| {
        let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        !part.is_empty() && part.len() <= 253 && part.bytes().all(inside)
    };
    let (namespace, name) = text.split_once('/')?;
    (is_name(namespace) && is_name(name)).then_some(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_names_an_object_tells_its_namespace() {
        for (text, expected) in [
            ("team-a/orders", Some("team-a")),
            ("a/b.c-1", Some("a")),
            ("/etc/manifests", None),
            ("https://api.example.com", None),
            ("a/b/c", None),
            ("A/b", None),
            ("a/", None),
            ("/b", None),
            ("alone", None),
        ] {
            assert_eq!(namespace(text), expected, "{text}");
        }
    }
}
