//! What the process says of its work, on standard error.
//!
//! Our own lines hold no secret at any level. The libraries below us do not know which header is
//! one, so theirs are cut off at `warn` whatever level is asked for. What others have written stays
//! inside of its line, and the objects of one namespace have a share of the lines and no more.

use std::any::Any;
use std::io::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use clap::ValueEnum;
use tracing::Subscriber;
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use super::clean_lines::CleanLines;
use super::log_shares::LogShares;
use crate::printable::printable;

/// Form of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Libraries that print headers, bodies or URLs when asked for detail.
const GUARDED: [&str; 12] = [
    "h2",
    "hyper",
    "hyper_util",
    "kube_client",
    "kube_core",
    "kube_runtime",
    "reqwest",
    "rustls",
    "rustls_platform_verifier",
    // All values of a statement: bodies, and whose they are.
    "tokio_postgres",
    "tower",
    "tower_http",
];

/// Why the lines cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is none.
    #[error(
        "`{0}` is no log level; write error, warn, info, debug or trace, or one for a part of the program: info,hookkeeper::engine=debug"
    )]
    Level(String),
    /// It was done before.
    #[error("logging is set up already")]
    Twice,
    /// Nothing logs any more.
    #[error("nothing is logged any more")]
    Gone,
}

/// What is logged, which can be changed while the process runs. Cheap to clone.
#[derive(Clone)]
pub struct LogLevel {
    change: Arc<dyn Fn(EnvFilter) -> bool + Send + Sync>,
    at_start: Arc<str>,
}

impl std::fmt::Debug for LogLevel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LogLevel")
    }
}

impl LogLevel {
    /// From now on, `level` decides.
    ///
    /// # Errors
    /// When the level is none; then nothing changes.
    pub fn change(&self, level: &str) -> Result<(), LogError> {
        if (self.change)(filter(level)?) { Ok(()) } else { Err(LogError::Gone) }
    }

    /// What was asked for at the start.
    #[must_use]
    pub fn at_start(&self) -> &str {
        &self.at_start
    }
}

/// Sets the process's lines up. `level` is a level, or a list of them by part of the program:
/// `info,hookkeeper::engine=debug`.
///
/// # Errors
/// When the level is none, or it was done before.
pub fn set_up(format: LogFormat, level: &str) -> Result<Logs, LogError> {
    let shares = LogShares::default();
    let (lines, level) = lines(format, level, shares.clone(), io::stderr)?;
    tracing_subscriber::registry().with(lines).try_init().map_err(|_| LogError::Twice)?;
    Ok(Logs { level, shares })
}

/// What can be done about the lines while the process runs.
#[derive(Clone, Debug)]
pub struct Logs {
    /// What is logged.
    pub level: LogLevel,
    /// How much of it.
    pub shares: LogShares,
}

/// Has a panic told without words that were put together at run time: those of a cut through the
/// middle of a character, for one, quote the whole text.
pub fn guard_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let words = words_in_the_source(panic.payload());
        if tracing::dispatcher::has_been_set() {
            tracing::error!(at, "panicked: {words}");
        } else {
            let _ = writeln!(io::stderr(), "hookkeeper: panicked at {at}: {}", printable(words));
        }
    }));
}

fn words_in_the_source(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("the words may quote a secret and are left out")
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let invalid = || LogError::Level(level.chars().take(64).collect());
    let level = level.trim();
    // The parser takes an unknown word for the name of a part, and then shows nothing of the rest.
    let plain = !level.contains(['=', ',', '[']);
    if level.is_empty() || (plain && LevelFilter::from_str(level).is_err()) {
        return Err(invalid());
    }
    EnvFilter::builder().parse(level).map_err(|_| invalid())
}

type Lines<S> = Box<dyn Layer<S> + Send + Sync>;

fn lines<S, W>(
    format: LogFormat,
    level: &str,
    shares: LogShares,
    writer: W,
) -> Result<(Lines<S>, LogLevel), LogError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let guard = tracing_subscriber::filter::filter_fn(|metadata| {
        let library = metadata.target().split("::").next().unwrap_or_default();
        // Levels order from error, the least, to trace, the most.
        *metadata.level() <= tracing::Level::WARN || !GUARDED.contains(&library)
    });
    // One filter made of three: what the level leaves out takes nothing from anybody's share.
    let filter = filter.and(guard).and(shares);
    let lines = tracing_subscriber::fmt::layer().with_writer(CleanLines(writer));
    let lines = match format {
        LogFormat::Human => lines.with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let change = Arc::new(move |filter| handle.reload(filter).is_ok());
    Ok((lines, LogLevel { change, at_start: level.into() }))
}

/// A level that can be changed, and that nothing is made of it.
#[cfg(test)]
pub(super) fn level_for_tests(level: &str) -> (LogLevel, Arc<std::sync::Mutex<Vec<String>>>) {
    let changes: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&changes);
    let change = Arc::new(move |filter: EnvFilter| {
        seen.lock().unwrap().push(filter.to_string());
        true
    });
    (LogLevel { change, at_start: level.into() }, changes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str, work: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let (lines, _) = lines(format, level, LogShares::default(), move || writer.clone()).unwrap();
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, work);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn libraries_say_nothing_below_a_warning_whatever_is_asked_for() {
        for level in ["trace", "trace,reqwest=trace,hyper::proto=trace", "hyper=trace", "h2[{headers}]=trace"]
        {
            let text = logged(LogFormat::Human, level, || {
                tracing::trace!(target: "hyper::proto::h1", "authorization: canary");
                tracing::debug!(target: "reqwest::connect", "canary");
                tracing::info!(target: "h2::codec", "canary");
                tracing::info!(target: "rustls", "canary");
                tracing::warn!(target: "hyper", "a warning");
            });
            assert!(!text.contains("canary"), "{level}: {text}");
        }
    }

    #[test]
    fn a_panic_that_quotes_what_was_worked_on_is_told_without_its_words() {
        let secret = "canary-é".to_owned();
        let cut = std::panic::catch_unwind(|| secret[..8].len()).unwrap_err();
        assert!(cut.downcast_ref::<String>().unwrap().contains("canary"), "this is why");
        assert!(!words_in_the_source(&*cut).contains("canary"));
        let plain = std::panic::catch_unwind(|| panic!("plain words")).unwrap_err();
        assert_eq!(words_in_the_source(&*plain), "plain words");
    }

    #[test]
    fn our_own_lines_follow_the_level() {
        let work = || {
            tracing::info!(target: "hookkeeper::engine", "seen");
            tracing::debug!(target: "hookkeeper::engine", "detail");
        };
        let text = logged(LogFormat::Human, "info", work);
        assert!(text.contains("seen") && !text.contains("detail"));
        let text = logged(LogFormat::Human, "warn,hookkeeper::engine=debug", work);
        assert!(text.contains("seen") && text.contains("detail"));
        assert!(logged(LogFormat::Human, "off", work).is_empty());
    }

    #[test]
    fn the_level_can_be_changed_while_the_process_runs() {
        let written = Written::default();
        let writer = written.clone();
        let shares = LogShares::default();
        let (lines, level) = lines(LogFormat::Human, "info", shares, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::debug!(target: "hookkeeper::engine", "before");
            assert!(matches!(level.change("loud"), Err(LogError::Level(_))));
            level.change("debug").unwrap();
            tracing::debug!(target: "hookkeeper::engine", "after");
            tracing::debug!(target: "kube_client::client", "canary");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("after") && !text.contains("before") && !text.contains("canary"), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged(LogFormat::Json, "info", || {
            tracing::info!(object = "default/orders", "line\nbreak");
        });
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "line\nbreak");
        assert_eq!(line["object"], "default/orders");
        assert_eq!(line["level"], "INFO");
    }

    /// Texts that an author, a platform or a token server can have us log.
    const HOSTILE: [&str; 5] = [
        "a\n2026-11-26T00:00:00Z  INFO hookkeeper::engine: everything is well",
        "a\r\u{1b}[2K\u{1b}]0;title\u{7}b",
        "a\u{9b}2J\u{7f}\u{85}b",
        "a\u{2028}b\u{2029}c",
        "a\u{202e}drowssap\u{202c}\u{2066}b\u{2069}",
    ];

    #[test]
    fn foreign_text_cannot_forge_a_line_nor_reach_the_terminal_with_an_effect() {
        for format in [LogFormat::Human, LogFormat::Json] {
            for text in HOSTILE {
                let written = logged(format, "info", || {
                    tracing::warn!(file = text, shown = %text, debugged = ?text, "{text}");
                });
                let line = written.strip_suffix('\n').unwrap();
                assert!(!line.chars().any(crate::printable::is_active), "{format:?}: {line:?}");
                if format == LogFormat::Json {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    assert_eq!(line["file"], text);
                }
            }
        }
    }

    /// What is logged with a small share for each namespace, and what is told of it afterwards.
    fn logged_within(share: super::super::shares::Share, level: &str, work: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let shares = LogShares::new(share);
        let (lines, _) = lines(LogFormat::Human, level, shares.clone(), move || writer.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            work();
            shares.tell();
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_flood_about_one_namespace_is_cut_and_told_and_costs_no_line_of_another() {
        let share = super::super::shares::Share { burst: 20, each_second: 0, owners: 8 };
        let text = logged_within(share, "debug", || {
            for number in 0..500 {
                let key = crate::api::ObjectKey::new("mallory", &format!("n{number}"));
                tracing::warn!(subscription = %key, "flood");
                tracing::debug!(source = %key, "detail");
                if number % 50 == 0 {
                    let honest = crate::api::ObjectKey::new("honest", "orders");
                    tracing::info!(object = %honest, "kept");
                    tracing::info!("the process itself");
                }
            }
        });
        let count = |part: &str| text.lines().filter(|line| line.ends_with(part)).count();
        assert_eq!(count("flood subscription=mallory/n0"), 1);
        assert_eq!(text.matches(": flood ").count(), 20);
        assert_eq!(text.matches(": detail ").count(), 20);
        assert_eq!(text.matches(": kept ").count(), 10);
        assert_eq!(text.matches("the process itself").count(), 10);
        for told in [
            "480 lines about objects of this namespace were left out: they were more than its share namespace=\"mallory\"",
            "480 lines of detail about objects of this namespace were left out: they were more than its share namespace=\"mallory\"",
        ] {
            assert_eq!(count(told), 1, "{text}");
        }
        assert!(!text.contains("namespace=\"honest\""), "{text}");
    }

    #[test]
    fn what_the_level_leaves_out_takes_nothing_from_a_share() {
        let share = super::super::shares::Share { burst: 5, each_second: 0, owners: 8 };
        let text = logged_within(share, "warn", || {
            for _ in 0..100 {
                tracing::info!(subscription = "a/b", "quiet");
            }
            for _ in 0..5 {
                tracing::warn!(subscription = "a/b", "loud");
            }
        });
        assert_eq!(text.matches("loud").count(), 5);
        assert!(!text.contains("left out"), "{text}");
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        for level in ["loud", "", "a=b=c", "info,=x=y"] {
            assert!(matches!(filter(level), Err(LogError::Level(_))), "{level}");
        }
    }
}
