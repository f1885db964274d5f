//! `hookkeeper health`: asks a running process whether it is ready; an image from scratch has no
//! curl.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use url::Url;

use super::ask::{ask, place};
use super::output;
use crate::printable::printable;

/// Asks a running process whether it is ready; exit code 1 when it is not.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where its admin server listens.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: Url,
}

/// Asks, and prints `ready` or what is missing.
///
/// # Errors
/// When there is no answer, which counts as not ready.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let answer = ask_ready(&args.url)
        .await
        .with_context(|| format!("{} did not say whether it is ready", place(&args.url)))?;
    let mut output = output::standard();
    output.write_all(answer.text.as_bytes())?;
    output.flush()?;
    Ok(if answer.code == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: u16,
    text: String,
}

async fn ask_ready(url: &Url) -> anyhow::Result<Answer> {
    let mut url = url.clone();
    if matches!(url.path(), "" | "/") {
        url.set_path("/readyz");
    }
    let answer = ask("GET", &url).await?;
    // A terminal acts on control characters, and anybody may listen there.
    let text = String::from_utf8_lossy(&answer.body);
    let text = text.lines().map(|line| format!("{}\n", printable(line))).collect();
    Ok(Answer { code: answer.code, text })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::ops::admin::{Admin, listen, serve};
    use crate::ops::by_hand::ByHand;
    use crate::ops::health::{Heartbeat, Readiness};
    use crate::ops::metrics::Metrics;

    #[tokio::test]
    async fn it_shows_what_a_real_server_misses() {
        let heartbeat = Heartbeat::new(Duration::from_secs(30));
        let readiness = Readiness::default();
        let admin = Admin {
            heartbeat: Arc::clone(&heartbeat),
            readiness: readiness.clone(),
            metrics: Metrics::new(heartbeat, true),
            log_level: None,
            by_hand: ByHand::of(axum::Router::new()),
        };
        let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let url: Url = url.parse().unwrap();
        tokio::spawn(serve(listener, admin));

        let missing = readiness.awaits("the manifests have not been read");
        let answer = ask_ready(&url).await.unwrap();
        assert_eq!(answer.code, 503);
        assert_eq!(answer.text, "the manifests have not been read\n");
        drop(missing);
        let answer = ask_ready(&url).await.unwrap();
        assert_eq!((answer.code, answer.text.as_str()), (200, "ready\n"));
        assert_eq!(ask_ready(&url.join("/livez").unwrap()).await.unwrap().text, "alive\n");
    }
}
