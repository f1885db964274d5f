//! `hookkeeper deliveries`: what waits at a gate, and what is to become of what is parked.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use chrono::{DateTime, SubsecRound, Utc};
use url::Url;

use super::ask::{Answer, ask, place};
use super::output;
use crate::gate::admin::{Page, Shown, ShownState};
use crate::gate::expected::{self, Page as Expected, Revived};
use crate::printable::printable;
use crate::store::DeliveryId;

/// Shows what waits at a gate, and replays or drops what is parked.
///
/// Asks the admin server of the process, which answers people on the same host only; for a gate in a
/// cluster: kubectl port-forward.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the gate's admin server listens.
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: Url,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Lists deliveries, the oldest first: since when each waits and why its last attempt failed.
    List(ListArgs),
    /// Shows one delivery; its body only with --body.
    Show(ShowArgs),
    /// Parked deliveries wait again and are handed on, with the same Hookkeeper-Delivery.
    Replay(ReplayArgs),
    /// Deletes parked deliveries, which is not undone.
    Drop(ChosenArgs),
    /// Lists what applications wait for (spec.fallback), with its id at the platform, which may be personal data.
    Expected(ListArgs),
    /// Asks the platform again for what was given up.
    AskAgain(AgainArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct AgainArgs {
    /// All that is parked, of one receiver if it is given.
    #[arg(long, required_unless_present = "receiver")]
    all: bool,
    #[command(flatten)]
    of: Of,
}

#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    of: Of,
    /// Only those in this state.
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Print JSON, one delivery a line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, Default, clap::Args)]
struct Of {
    /// Only those of this receiver.
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    receiver: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum State {
    /// Waits to be handed on.
    Pending,
    /// Waits for a person.
    Parked,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Parked => "parked",
        }
    }
}

impl Of {
    fn query(&self) -> Vec<(&str, &str)> {
        let receiver = self.receiver.as_deref();
        let receiver = receiver.map(|text| text.split_once('/').unwrap_or(("default", text)));
        receiver.map_or_else(Vec::new, |(namespace, name)| vec![("namespace", namespace), ("receiver", name)])
    }
}

#[derive(Clone, Debug, clap::Args)]
struct ShowArgs {
    /// The delivery, as `list` shows it.
    id: DeliveryId,
    /// Print its body, and nothing else. It may hold credentials and personal data.
    #[arg(long)]
    body: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct ChosenArgs {
    /// The deliveries, as `list` shows them.
    #[arg(required_unless_present = "all")]
    ids: Vec<DeliveryId>,
    /// All that are parked, of one receiver if it is given.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    of: Of,
}

#[derive(Clone, Debug, clap::Args)]
struct ReplayArgs {
    #[command(flatten)]
    chosen: ChosenArgs,
    /// Deliveries whose receiver is gone go over to the receiver that has its namespace and name now.
    #[arg(long)]
    adopt: bool,
}

/// Asks, and prints what comes of it.
///
/// # Errors
/// When there is no answer, or not the wanted one.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let gate = Gate { url: args.url };
    let mut output = output::standard();
    let code = match args.command {
        Command::List(list) => gate.list(&list, &mut output).await?,
        Command::Show(show) => gate.show(&show, &mut output).await?,
        Command::Replay(ReplayArgs { chosen, adopt }) => {
            let query: &[_] = if adopt { &[("adopt", "true")] } else { &[] };
            let change = Change { method: "POST", below: "/replay", query, done: "replayed" };
            gate.change(&chosen, &change, &mut output).await?
        }
        Command::Drop(chosen) => {
            let change = Change { method: "DELETE", below: "", query: &[], done: "dropped" };
            gate.change(&chosen, &change, &mut output).await?
        }
        Command::Expected(list) => gate.expected(&list, &mut output).await?,
        Command::AskAgain(again) => gate.ask_again(&again, &mut output).await?,
    };
    output.flush()?;
    Ok(code)
}

struct Gate {
    url: Url,
}

/// What is asked for each chosen delivery.
struct Change<'a> {
    method: &'a str,
    below: &'a str,
    query: &'a [(&'a str, &'a str)],
    /// What is said of those with which it was done.
    done: &'a str,
}

impl Gate {
    async fn ask(&self, method: &str, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let mut url = self.url.clone();
        url.set_path(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        ask(method, &url).await.with_context(|| format!("{} did not answer", place(&self.url)))
    }

    async fn page(&self, of: &Of, state: Option<&str>, after: Option<&str>) -> anyhow::Result<Page> {
        let mut query = of.query();
        query.extend(state.map(|state| ("state", state)));
        query.extend(after.map(|after| ("after", after)));
        let answer = self.ask("GET", "/deliveries", &query).await?;
        let body = self.expect(answer, 200)?;
        serde_json::from_slice(&body).context("the answer is no list of deliveries; is it a gate?")
    }

    /// The body of an answer with this status.
    fn expect(&self, answer: Answer, code: u16) -> anyhow::Result<Vec<u8>> {
        if answer.code == code {
            return Ok(answer.body);
        }
        let text = String::from_utf8_lossy(&answer.body);
        let text: String = text.chars().take(512).collect();
        match (answer.code, text.trim()) {
            (404, "") => bail!("{} has no deliveries: it is no gate", place(&self.url)),
            (code, "") => bail!("{} answered {code}", place(&self.url)),
            (_, text) => bail!("{}", printable(text)),
        }
    }

    async fn list(&self, args: &ListArgs, output: &mut impl Write) -> anyhow::Result<ExitCode> {
        let state = args.state.map(State::name);
        let mut after: Option<String> = None;
        let mut headed = false;
        loop {
            let page = self.page(&args.of, state, after.as_deref()).await?;
            for delivery in &page.deliveries {
                if args.json {
                    serde_json::to_writer(&mut *output, delivery)?;
                    writeln!(output)?;
                    continue;
                }
                if !headed {
                    headed = true;
                    write_line(
                        output,
                        ["DELIVERY", "RECEIVER", "STATE", "AGE", "NEXT", "ATTEMPTS", "BYTES"],
                        "LAST FAILURE",
                    )?;
                }
                write_shown(output, delivery, Utc::now())?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if !headed && !args.json {
            writeln!(output, "nothing waits")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn show(&self, args: &ShowArgs, output: &mut impl Write) -> anyhow::Result<ExitCode> {
        let path = format!("/deliveries/{}", args.id);
        if args.body {
            let answer = self.ask("GET", &format!("{path}/body"), &[]).await?;
            output.write_all(&self.expect(answer, 200)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let answer = self.ask("GET", &path, &[]).await?;
        let delivery: Shown = serde_json::from_slice(&self.expect(answer, 200)?)?;
        let state = match delivery.state {
            ShownState::Pending => "waits to be handed on",
            ShownState::Parked => "parked: replay or drop it",
        };
        writeln!(output, "delivery:     {}", delivery.id)?;
        writeln!(
            output,
            "receiver:     {}/{}",
            printable(&delivery.namespace),
            printable(&delivery.receiver)
        )?;
        writeln!(output, "state:        {state}")?;
        writeln!(output, "arrived:      {}", time(delivery.arrived))?;
        if let Some(due) = delivery.due {
            writeln!(output, "next attempt: {}", time(due))?;
        }
        writeln!(output, "attempts:     {}", delivery.attempts)?;
        writeln!(output, "body:         {} bytes", delivery.bytes)?;
        if let (Some(failure), Some(failed)) = (&delivery.failure, delivery.failed) {
            writeln!(output, "last failure: {} ({})", printable(failure), time(failed))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn expected(&self, args: &ListArgs, output: &mut impl Write) -> anyhow::Result<ExitCode> {
        let mut query = args.of.query();
        query.extend(args.state.map(|state| ("state", state.name())));
        let answer = self.ask("GET", "/expectations", &query).await?;
        let page: Expected = serde_json::from_slice(&self.expect(answer, 200)?)
            .context("the answer is no list of expectations; is it a gate?")?;
        if args.json {
            for expectation in &page.expectations {
                serde_json::to_writer(&mut *output, expectation)?;
                writeln!(output)?;
            }
        } else if page.expectations.is_empty() {
            writeln!(output, "nothing is waited for")?;
        } else {
            write_expected(output, &page.expectations, Utc::now())?;
        }
        if page.more {
            let shown = page.expectations.len();
            writeln!(io::stderr(), "these are the first {shown}; --receiver and --state show others")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn ask_again(&self, args: &AgainArgs, output: &mut impl Write) -> anyhow::Result<ExitCode> {
        let answer = self.ask("POST", "/expectations/revive", &args.of.query()).await?;
        let revived: Vec<Revived> = serde_json::from_slice(&self.expect(answer, 200)?)?;
        for Revived { namespace, receiver, count } in &revived {
            writeln!(output, "{}/{}: {count} asked for again", printable(namespace), printable(receiver))?;
        }
        if revived.is_empty() {
            writeln!(output, "nothing is parked")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Does something with each chosen delivery; what cannot be done is told, and the others go on.
    async fn change(
        &self,
        chosen: &ChosenArgs,
        change: &Change<'_>,
        output: &mut impl Write,
    ) -> anyhow::Result<ExitCode> {
        let (mut changed, mut failed) = (0_u64, 0_u64);
        let mut ids: Vec<String> = chosen.ids.iter().map(DeliveryId::to_string).collect();
        let mut after: Option<String> = None;
        loop {
            if chosen.all {
                let page = self.page(&chosen.of, Some("parked"), after.as_deref()).await?;
                ids = page.deliveries.into_iter().map(|delivery| delivery.id).collect();
                after = page.next;
            }
            for id in &ids {
                let path = format!("/deliveries/{id}{}", change.below);
                let answer = self.ask(change.method, &path, change.query).await?;
                match self.expect(answer, 204) {
                    Ok(_) => changed += 1,
                    Err(error) => {
                        failed += 1;
                        writeln!(io::stderr(), "{id}: {error}")?;
                    }
                }
            }
            if after.is_none() {
                break;
            }
        }
        writeln!(output, "{changed} {}", change.done)?;
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.trunc_subsecs(0).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A length of time for people, in its two largest units at most.
fn length(time: chrono::TimeDelta) -> String {
    let seconds = time.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

fn write_shown(output: &mut impl Write, delivery: &Shown, now: DateTime<Utc>) -> io::Result<()> {
    let receiver = format!("{}/{}", printable(&delivery.namespace), printable(&delivery.receiver));
    let state = state(delivery.state);
    let next = delivery.due.map_or_else(|| "-".to_owned(), |due| length(due - now));
    let failure = delivery.failure.as_deref().map(printable).unwrap_or_default();
    write_line(
        output,
        [
            &delivery.id,
            &receiver,
            state,
            &length(now - delivery.arrived),
            &next,
            &delivery.attempts.to_string(),
            &delivery.bytes.to_string(),
        ],
        &failure,
    )
}

fn write_expected(
    output: &mut impl Write,
    expectations: &[expected::Shown],
    now: DateTime<Utc>,
) -> io::Result<()> {
    let mut line = |receiver: &str, state: &str, age: &str, next: &str, id: &str| {
        writeln!(output, "{receiver:<32} {state:<8} {age:<8} {next:<8} {id}")
    };
    line("RECEIVER", "STATE", "AGE", "NEXT", "ID")?;
    for shown in expectations {
        let receiver = format!("{}/{}", printable(&shown.namespace), printable(&shown.receiver));
        let state = state(shown.state);
        let next = shown.due.map_or_else(|| "-".to_owned(), |due| length(due - now));
        line(&receiver, state, &length(now - shown.since), &next, &printable(&shown.id))?;
    }
    Ok(())
}

fn state(state: ShownState) -> &'static str {
    match state {
        ShownState::Pending => "pending",
        ShownState::Parked => "parked",
    }
}

fn write_line(output: &mut impl Write, columns: [&str; 7], last: &str) -> io::Result<()> {
    let [id, receiver, state, age, next, attempts, bytes] = columns;
    let line =
        format!("{id:<36}  {receiver:<32} {state:<8} {age:<8} {next:<8} {attempts:<9} {bytes:<9} {last}");
    writeln!(output, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_waits_since_when_and_why() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let shown = Shown {
            id: "0192f0c1-0000-7000-8000-000000000000".to_owned(),
            namespace: "hr".to_owned(),
            receiver: "gupy".to_owned(),
            state: ShownState::Pending,
            arrived: at("2026-11-27T03:00:00Z"),
            due: Some(at("2026-11-27T05:00:30Z")),
            bytes: 312,
            attempts: 3,
            failure: Some("the application answered 500\u{1b}[2J".to_owned()),
            failed: None,
        };
        let mut text = Vec::new();
        write_shown(&mut text, &shown, at("2026-11-27T05:00:00Z")).unwrap();
        let text = String::from_utf8(text).unwrap();
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words[1..7], ["hr/gupy", "pending", "2h0m", "30s", "3", "312"]);
        assert!(text.ends_with("the application answered 500\\u001b[2J\n"), "{text}");
    }

    #[test]
    fn lengths_of_time_are_short() {
        for (seconds, expected) in [(-5, "0s"), (59, "59s"), (61, "1m1s"), (7_260, "2h1m"), (90_000, "1d1h")]
        {
            assert_eq!(length(chrono::TimeDelta::seconds(seconds)), expected);
        }
    }
}
