//! `hookkeeper sandbox`: platforms and a token server to try things out against.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::output;
use crate::api::Duration;
use crate::printable::printable;
use crate::sandbox::{
    Client, Config, Sandbox, SandboxInfo, SenderConfig, TRIAL_CLIENT_ID, TRIAL_CLIENT_SECRET,
    TRIAL_MANAGEMENT_TOKEN, WriteOptions, trial_platforms, write_manifests,
};
use crate::secret::SecretText;

/// Runs a Gupy-like provider and a token server, with faults on request; with --gate, other platforms
/// and an application too.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to listen. Nothing guards it: stay on loopback.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8480")]
    pub listen: SocketAddr,
    /// How long tokens live.
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub token_life: Duration,
    /// Issuing a token revokes the previous one.
    #[arg(long)]
    pub revokes_previous: bool,
    /// How many times faster than real time the provider's own rules pass: delivery retries, the
    /// removal of failing webhooks after 7 days, the window of the rate limit.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub time_scale: f64,
    /// How often each webhook has an event.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub delivery_interval: Duration,
    /// Send deliveries there instead of to the sandbox's own receiver.
    #[arg(long, value_name = "URL")]
    pub deliver_to: Option<Url>,
    /// Send as four platforms to the receivers of the gate at this base URL, and play the application
    /// behind it; with --write, write those receivers too.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "http://127.0.0.1:8090",
        value_parser = gate, conflicts_with = "deliver_to")]
    pub gate: Option<Url>,
    /// Write manifests and secrets that run against this sandbox into this folder.
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
    /// How many subscriptions to write.
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub subscriptions: usize,
    /// The bearer token of the provider's API; the default is well known.
    #[arg(long, value_name = "TOKEN", default_value = TRIAL_MANAGEMENT_TOKEN, hide_default_value = true,
        env = "HOOKKEEPER_SANDBOX_MANAGEMENT_TOKEN", hide_env_values = true, value_parser = secret)]
    pub management_token: SecretText,
    /// The secret of the token server's client; the default is well known.
    #[arg(long, value_name = "SECRET", default_value = TRIAL_CLIENT_SECRET, hide_default_value = true,
        env = "HOOKKEEPER_SANDBOX_CLIENT_SECRET", hide_env_values = true, value_parser = secret)]
    pub client_secret: SecretText,
}

fn gate(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !bare || !url.username().is_empty() {
        return Err("write scheme, host and port such as http://127.0.0.1:8090".to_owned());
    }
    Ok(url)
}

/// Where the gate takes in what is meant for the receiver of this name.
fn receiver_at(gate: &Url, name: &str) -> anyhow::Result<Url> {
    Ok(gate.join(&format!("/default/{name}"))?)
}

#[expect(clippy::unnecessary_wraps, reason = "the shape that clap asks for")]
fn secret(text: &str) -> Result<SecretText, std::convert::Infallible> {
    Ok(SecretText::from(text))
}

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// When the address is taken, a setting makes no sense or a file cannot be written.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let client = Client {
        id: TRIAL_CLIENT_ID.to_owned(),
        secret: args.client_secret,
        token_life: args.token_life.to_std(),
        revokes_previous: args.revokes_previous,
    };
    let info = |url| SandboxInfo {
        url,
        management_token: args.management_token.clone(),
        client: client.clone(),
        platforms: trial_platforms(),
    };
    let interval = args.delivery_interval.to_std();
    let mut senders = Vec::new();
    let mut deliver_to = args.deliver_to.clone();
    if let Some(gate) = &args.gate {
        deliver_to = Some(receiver_at(gate, "gupy")?);
        for (name, platform) in trial_platforms() {
            let target = Some(receiver_at(gate, &name)?);
            senders.push(SenderConfig { target, interval: Some(interval), ..SenderConfig::of(platform) });
        }
    }
    let sandbox = Sandbox::start(Config {
        listen: args.listen,
        management_token: args.management_token.clone(),
        clients: vec![client.clone()],
        time_scale: args.time_scale,
        delivery_interval: Some(interval),
        deliver_to: deliver_to.clone(),
        senders,
        ..Config::default()
    })
    .await
    .context("the sandbox cannot start")?;
    let url = sandbox.url();
    let receiver = deliver_to.as_ref().map_or_else(|| format!("{url}/receive/"), ToString::to_string);
    say(&[
        format!("provider API   {url}/api/v1/webhooks"),
        format!("token server   {url}/oauth/token (client {})", client.id),
        format!("deliveries to  {receiver}"),
        format!("ledger         {url}/admin/summary, {url}/admin/ledger"),
        format!("faults         {url}/admin/faults"),
    ])?;
    if let Some(gate) = &args.gate {
        say(&[
            format!("other senders  {url}/admin/senders, to {gate}default/…"),
            format!("application    {url}/application/…"),
            format!("account        {url}/admin/account"),
        ])?;
    }
    if let Some(folder) = &args.write {
        let options = WriteOptions { subscriptions: args.subscriptions, gate: args.gate.clone() };
        let written = write_manifests(folder, &info(url), &options)?;
        say(&[
            format!("manifests      {}", folder.display()),
            "To keep its tokens fresh, run:".to_owned(),
            format!("  {}", written.sidecar_command),
            format!(
                "A new sandbox knows no webhooks of an old one: remove {} before starting over.",
                written.state_file.display()
            ),
        ])?;
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    sandbox.shutdown().await;
    Ok(())
}

fn say(lines: &[String]) -> io::Result<()> {
    let mut out = output::standard();
    for line in lines {
        writeln!(out, "{}", printable(line))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn defaults_fit_and_secrets_do_not_show() {
        let args = Program::try_parse_from(["x", "--client-secret", "hush"]).unwrap().args;
        assert_eq!(args.listen.port(), 8480);
        assert!(!format!("{args:?}").contains("hush"));
    }

    #[test]
    fn a_gate_is_a_base_url() {
        let parse = |words: &[&str]| Program::try_parse_from([&["x"], words].concat());
        let gate = |words: &[&str]| parse(words).unwrap().args.gate.unwrap().to_string();
        assert_eq!(gate(&["--gate"]), "http://127.0.0.1:8090/");
        assert_eq!(gate(&["--gate", "https://hooks.example.com"]), "https://hooks.example.com/");
        for wrong in ["127.0.0.1:8090", "http://a/b", "ftp://a", "http://u@a"] {
            assert!(parse(&["--gate", wrong]).is_err(), "{wrong}");
        }
        assert!(parse(&["--gate", "--deliver-to", "http://a"]).is_err());
    }
}
