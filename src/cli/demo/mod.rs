//! `hookkeeper demo`: a sandbox and a sidecar with a gate in one process, to see the whole circle: a
//! token is minted, brought in, seen in a delivery, and the delivery is handed on.
//!
//! Nothing in it is made up for show: the sidecar reads manifests from a folder, speaks HTTP to the
//! sandbox and keeps a state file; the gate takes real deliveries in and stores them; the summary is the
//! sandbox's own ledger.

mod circle;
mod running;
mod table;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use url::Url;

use self::circle::Circle;
use self::running::Running;
use self::table::Row;
use super::output;
use crate::api::Duration;
use crate::ops::logs::{self, LogFormat};
use crate::ops::shutdown::Shutdown;
use crate::ops::system::SystemRandom;
use crate::printable::printable;
use crate::rotation::schedule::SHORTEST_LIFETIME;
use crate::sandbox::{
    Client, Config, Event, LedgerSummary, Operation, Outcome, Parked, Platform, Sandbox, SandboxInfo,
    SenderChange, SenderConfig, Summary, TRIAL_CLIENT_ID, TRIAL_CLIENT_SECRET, TRIAL_MANAGEMENT_TOKEN,
    WriteOptions, trial_platforms, write_manifests,
};

/// How often the picture is drawn again.
const FRAME: std::time::Duration = std::time::Duration::from_millis(250);
/// How often each webhook, and each other platform, has an event.
const EVENTS_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// How long the last deliveries may take at the end.
const LAST_DELIVERIES: std::time::Duration = std::time::Duration::from_secs(10);

/// Shows rotations, and deliveries handed on, without a cluster and without an account: a sandbox and a
/// sidecar with a gate in one process.
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
/// no delivery refused, lost or parked, and no subscription doubled.
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
    let (_trigger, shutdown) = Shutdown::on_signals()?;
    let folder = TemporaryFolder::create()?;
    let client = Client {
        id: TRIAL_CLIENT_ID.to_owned(),
        secret: TRIAL_CLIENT_SECRET.into(),
        token_life: args.token_life.to_std(),
        revokes_previous: false,
    };
    let platforms = trial_platforms();
    let sandbox = Sandbox::start(Config {
        listen: ([127, 0, 0, 1], 0).into(),
        clients: vec![client.clone()],
        delivery_interval: Some(EVENTS_EVERY),
        senders: platforms.iter().map(|(_, platform)| SenderConfig::of(platform.clone())).collect(),
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
            platforms: platforms.clone(),
        },
        &WriteOptions { subscriptions: usize::from(args.subscriptions), gate: Some(Url::parse(&url)?) },
    )?;
    let running = Running::start(&folder.0, &written, &url).await?;
    begin_to_send(&sandbox, &running.gate_url, &platforms)?;

    let mut show = Show::new(&sandbox, args.token_life.to_std());
    show.introduce(&url, &running.gate_url, &args)?;
    let end = tokio::time::Instant::now() + args.duration.to_std();
    loop {
        tokio::select! {
            () = shutdown.asked() => break,
            () = tokio::time::sleep_until(end) => break,
            () = tokio::time::sleep(FRAME) => {}
        }
        running.is_whole()?;
        show.frame(running.rows())?;
    }
    let account = last_deliveries(&sandbox, &running).await?;
    show.frame(running.rows())?;
    running.stop().await?;
    let ledger = sandbox.ledger();
    sandbox.shutdown().await;
    summarise(&ledger, &account)
}

/// Points all platforms at the gate.
fn begin_to_send(sandbox: &Sandbox, gate: &Url, platforms: &[(String, Platform)]) -> anyhow::Result<()> {
    let target = |name: &str| Ok::<_, url::ParseError>(Some(gate.join(&format!("/default/{name}"))?));
    let change = |name: &str, change| sandbox.change_sender(name, change).map_err(anyhow::Error::msg);
    change("gupy", SenderChange { target: target("gupy")?, ..SenderChange::default() })?;
    for (name, platform) in platforms {
        let per_second = Some(1.0 / EVENTS_EVERY.as_secs_f64());
        // As a user does who has just typed the URL in.
        let sample = matches!(platform, Platform::Pulpo(_));
        change(name, SenderChange { target: target(name)?, per_second, sample, ..SenderChange::default() })?;
    }
    Ok(())
}

/// Lets no event happen any more, and waits for those that did: all that was acknowledged is handed on,
/// unless something is wrong.
async fn last_deliveries(sandbox: &Sandbox, running: &Running) -> anyhow::Result<Summary> {
    let names = sandbox.senders().into_iter().map(|sender| sender.name);
    for name in names.chain(["gupy".to_owned()]) {
        let stop = SenderChange { per_second: Some(0.0), ..SenderChange::default() };
        sandbox.change_sender(&name, stop).map_err(anyhow::Error::msg)?;
    }
    let end = tokio::time::Instant::now() + LAST_DELIVERIES;
    loop {
        let parked = running.parked().await?;
        let parked: Vec<Parked> = parked.iter().map(|id| Parked::Id(id)).collect();
        let account = sandbox.account(&parked);
        let is_quiet = account.lost + account.not_taken == 0;
        if is_quiet || tokio::time::Instant::now() >= end {
            return Ok(account);
        }
        tokio::time::sleep(FRAME).await;
    }
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
    fn introduce(&self, url: &str, gate: &Url, args: &Args) -> io::Result<()> {
        let mut out = output::standard();
        writeln!(out, "A sandbox of four platforms, a token server and an application listens at {url}.")?;
        writeln!(
            out,
            "A gate at {gate} takes the platforms' deliveries in and hands them on to the application."
        )?;
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
