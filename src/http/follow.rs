//! Keeps a client in step with its files, which somebody else renews.

use std::convert::Infallible;
use std::time::Duration;

use tracing::{info, warn};

use super::Client;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(5);

impl Client {
    /// Reads the files again and again, for as long as it runs. One that cannot be used is told once,
    /// and what was read before stays in use.
    pub async fn follow_files(&self) -> Infallible {
        if self.files().is_none() {
            return std::future::pending().await;
        }
        let mut trouble = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let client = self.clone();
            // A file system that does not answer must hold up nothing else.
            let read = tokio::task::spawn_blocking(move || client.read_files_again());
            match read.await {
                Ok(Ok(changed)) => {
                    if changed || trouble.is_some() {
                        info!("the CA file and the proxy's credentials were read again and are in use");
                    }
                    trouble = None;
                }
                Ok(Err(error)) => {
                    let text = error.to_string();
                    if trouble.as_ref() != Some(&text) {
                        warn!("{text}; what was read from it before stays in use");
                        trouble = Some(text);
                    }
                }
                Err(_) => warn!("reading the CA file and the proxy's credentials again has failed"),
            }
        }
    }
}
