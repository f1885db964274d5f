//! `hookkeeper demo`: a sandbox and a sidecar in one process, to see rotations happen.
//!
//! Nothing in it is made up for show: the sidecar reads manifests from a folder, speaks HTTP to the
//! sandbox and keeps a state file; the summary is the sandbox's own ledger.

mod circle;
mod table;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use self::circle::Circle;
use self::table::Row;
use super::compose::{self, FromShell};
use super::output;
use crate::api::{Duration, Kind, SubscriptionStatus};
use crate::engine::Options;
use crate::engine::ports::{NoGates, Secrets};
use crate::http::{self, DestinationPolicy};
use crate::ops::health::Heartbeat;
use crate::ops::logs::{self, LogFormat};
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::Shutdown;
use crate::ops::system::{LoggedNotices, SystemRandom};
use crate::printable::printable;
use crate::rotation::schedule::SHORTEST_LIFETIME;
use crate::sandbox::{
    Client, Config, Event, LedgerSummary, Operation, Outcome, Sandbox, SandboxInfo, Summary, TRIAL_CLIENT_ID,
    TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN, WriteOptions, write_manifests,
};
use crate::sidecar::shell::{Alone, Parts, Settings, Shell};

/// How often the picture is drawn anew.
const FRAME: std::time::Duration = std::time::Duration::from_millis(250);

/// Shows rotations without a cluster and without an account: a sandbox and a sidecar in one process.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long to run.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub duration: Duration,
    /// How many subscriptions share the token.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub subscriptions: u16,
    /// How long tokens live, at least 8s.
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    pub token_life: Duration,
}

/// Runs for the given time, or until SIGINT or SIGTERM. The exit code is 0 when no token was late,
/// no delivery refused and no subscription doubled.
///
/// # Errors
/// When a part cannot be started.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    logs::set_up(LogFormat::Human, "error")?;
    anyhow::ensure!(
        args.token_life.to_std() >= SHORTEST_LIFETIME,
        "--token-life {}: one object is rotated at most every 5 s, so tokens have to live at least {SHORTEST_LIFETIME:?}",
        args.token_life
    );
    let (trigger, shutdown) = Shutdown::on_signals()?;
    let folder = TemporaryFolder::create()?;
    let client = Client {
        id: TRIAL_CLIENT_ID.to_owned(),
        secret: TRIAL_CLIENT_SECRET.into(),
        token_life: args.token_life.to_std(),
        revokes_previous: false,
    };
    let sandbox = Sandbox::start(Config {
        listen: ([127, 0, 0, 1], 0).into(),
        clients: vec![client.clone()],
        delivery_interval: Some(std::time::Duration::from_secs(1)),
        ..Config::default()
    })
    .await
    .context("the sandbox cannot start")?;
    let url = sandbox.url();
    let written = write_manifests(
        &folder.0.join("manifests"),
        &SandboxInfo {
            url: url.clone(),
            management_token: TRIAL_MANAGEMENT_TOKEN.into(),
            client,
            platforms: Vec::new(),
        },
        &WriteOptions { subscriptions: usize::from(args.subscriptions), gate: None },
    )?;
    let shell = Shell::open(
        Settings {
            manifests: folder.0.join("manifests"),
            state: written.state_file,
            secrets_dir: None,
            publish_dir: None,
            parts: Parts::Engine,
            prune: false,
            require_allowed_hosts: false,
        },
        Arc::new(SystemRandom),
    )?;
    let state = shell.state.clone();
    let metrics = Metrics::new(Heartbeat::new(std::time::Duration::from_secs(30)), false);
    let secrets: Arc<dyn Secrets> = Arc::new(shell.secrets);
    let from_shell = FromShell {
        record: Arc::new(shell.state),
        secrets: Arc::clone(&secrets),
        mint_secrets: secrets,
        service_accounts: None,
        gates: Arc::new(NoGates),
        publish: Arc::new(shell.publish),
        leadership: Arc::new(Alone),
        notices: Arc::new(LoggedNotices),
    };
    let client = http::Client::new(http::Config {
        destinations: DestinationPolicy::new(vec![url.parse().context("the sandbox's address")?]),
        ..http::Config::default()
    })?;
    let engine = compose::engine(from_shell, client, Arc::new(metrics), Options::default());
    let watching = tokio::spawn(shell.watch.run(|| {}));
    let stop = shutdown.clone();
    let engine = tokio::spawn(engine.run(shell.changes, async move { stop.asked().await }));

    let mut show = Show::new(&sandbox, args.token_life.to_std());
    show.introduce(&url, &args)?;
    let end = tokio::time::Instant::now() + args.duration.to_std();
    loop {
        tokio::select! {
            () = shutdown.asked() => break,
            () = tokio::time::sleep_until(end) => break,
            () = tokio::time::sleep(FRAME) => {}
        }
        anyhow::ensure!(!engine.is_finished(), "the engine has ended");
        anyhow::ensure!(!watching.is_finished(), "the task that reads the manifests has ended");
        let rows = state
            .entries()
            .into_keys()
            .filter(|(kind, _)| *kind == Kind::WebhookSubscription)
            .map(|(kind, key)| {
                let status: SubscriptionStatus = state.status(kind, &key);
                Row::new(&key, &status)
            })
            .collect();
        show.frame(rows)?;
    }
    trigger.ask();
    engine.await.context("the engine panicked")??;
    watching.abort();
    let (ledger, account) = (sandbox.ledger(), sandbox.account(&[]));
    sandbox.shutdown().await;
    summarise(&ledger, &account)
}

/// The summary, and the exit code that it earns.
fn summarise(ledger: &LedgerSummary, account: &Summary) -> anyhow::Result<ExitCode> {
    let mut out = output::standard();
    let well = is_well(ledger, account);
    writeln!(out)?;
    writeln!(out, "What the sandbox's ledger says:")?;
    for (what, number) in [
        ("rotations", ledger.rotations),
        ("late", ledger.late + ledger.late_now),
        ("deliveries accepted", ledger.deliveries_accepted),
        ("deliveries refused", ledger.deliveries_refused),
        ("mints", ledger.mints),
        ("provider calls", ledger.provider_calls),
        ("creates", ledger.creates),
        ("doubled", ledger.doubled),
        ("handed on once", account.once),
        ("handed on twice", account.twice + account.unexplained_doubles),
        ("parked", account.parked),
        ("lost", account.lost),
    ] {
        writeln!(out, "  {what:<20} {number:>6}")?;
    }
    if ledger.creates == 0 {
        writeln!(out, "Nothing was created: the time was too short.")?;
    }
    for (number, what) in [
        (account.unexplained_doubles, "handed on twice without a reason"),
        (account.unknown, "handed on although nobody had sent it"),
        (account.broken_rules, "handed on in a wrong form"),
    ] {
        if number > 0 {
            writeln!(out, "  {what:<40} {number:>6}")?;
        }
    }
    out.flush()?;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_well(ledger: &LedgerSummary, account: &Summary) -> bool {
    let bad = ledger.late + ledger.late_now + ledger.deliveries_refused + ledger.doubled + account.parked;
    bad == 0 && ledger.creates > 0 && account.is_clean()
}

/// What is shown while it runs: a table on a terminal, lines otherwise.
struct Show<'a> {
    sandbox: &'a Sandbox,
    token_life: std::time::Duration,
    live: bool,
    drawn: usize,
    seen: u64,
    circle: Circle,
    deliveries: std::collections::BTreeMap<String, (u64, u64)>,
}

impl<'a> Show<'a> {
    fn new(sandbox: &'a Sandbox, token_life: std::time::Duration) -> Self {
        Self {
            sandbox,
            token_life,
            live: io::stdout().is_terminal(),
            drawn: 0,
            seen: 0,
            circle: Circle::default(),
            deliveries: std::collections::BTreeMap::new(),
        }
    }

    #[expect(clippy::unused_self, reason = "one subject for everything that is shown")]
    fn introduce(&self, url: &str, args: &Args) -> io::Result<()> {
        let mut out = output::standard();
        writeln!(out, "A sandbox of a webhook provider and of a token server listens at {url}.")?;
        writeln!(
            out,
            "{} subscriptions share a token that lives {}; it runs for {}.",
            args.subscriptions, args.token_life, args.duration
        )?;
        writeln!(out)?;
        out.flush()
    }

    fn frame(&mut self, rows: Vec<Row>) -> io::Result<()> {
        let mut lines = Vec::new();
        for entry in self.sandbox.entries(self.seen) {
            self.seen = self.seen.max(entry.sequence);
            lines.extend(self.circle.note(&entry));
            let at = entry.time.format("%H:%M:%S");
            match entry.event {
                Event::Delivery(delivery) => {
                    let counts = self.deliveries.entry(delivery.webhook.clone()).or_default();
                    if delivery.outcome == Outcome::Accepted {
                        counts.0 += 1;
                    } else {
                        counts.1 += 1;
                        lines.push(format!("{at}  refused   delivery of webhook {}", delivery.webhook));
                    }
                }
                Event::ProviderCall(call) => {
                    let what = match call.operation {
                        Operation::Create => "created",
                        Operation::Update => "rotated",
                        Operation::Delete => "deleted",
                        Operation::List => "listed",
                    };
                    let about = call.action.unwrap_or_default();
                    let token =
                        call.token.map(|token| format!("now carries token {token}")).unwrap_or_default();
                    lines.push(format!("{at}  {what:<9} {about:<28} {token}").trim_end().to_owned());
                }
                _ => {}
            }
        }
        let mut out = output::standard();
        if self.live {
            let ledger = self.sandbox.ledger();
            let mut picture = table::draw(&rows, &self.deliveries, &ledger, self.token_life);
            picture.push(String::new());
            picture.extend(self.circle.draw());
            picture.extend(table::draw_senders(&self.sandbox.senders(), &self.sandbox.account(&[])));
            table::repaint(&mut out, &mut self.drawn, &picture)?;
        } else {
            for line in lines {
                writeln!(out, "{}", printable(&line))?;
            }
        }
        out.flush()
    }
}

/// A folder that goes with the process.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn create() -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let random = crate::engine::ports::Random::bits(&SystemRandom);
        let path = std::env::temp_dir().join(format!("hookkeeper-demo-{random:016x}"));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("the folder {} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What is left of a demo is in nobody's way.
        let path: &Path = &self.0;
        let _ = std::fs::remove_dir_all(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_late_refused_or_doubled_is_not_well() {
        let good = LedgerSummary { creates: 6, ..LedgerSummary::default() };
        let clean = Summary::default();
        assert!(is_well(&good, &clean));
        assert!(!is_well(&LedgerSummary::default(), &clean), "nothing happened");
        for bad in [
            LedgerSummary { late: 1, ..good.clone() },
            LedgerSummary { late_now: 1, ..good.clone() },
            LedgerSummary { deliveries_refused: 1, ..good.clone() },
            LedgerSummary { doubled: 1, ..good.clone() },
        ] {
            assert!(!is_well(&bad, &clean), "{bad:?}");
        }
        for bad in [
            Summary { lost: 1, ..clean },
            Summary { parked: 1, ..clean },
            Summary { unexplained_doubles: 1, ..clean },
            Summary { unknown: 1, ..clean },
            Summary { broken_rules: 1, ..clean },
        ] {
            assert!(!is_well(&good, &bad), "{bad:?}");
        }
    }
}
