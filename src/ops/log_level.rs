//! `PUT /log-level`: who may change what is logged, and for how long.
//!
//! More detail costs disk and CPU, and less hides what happens, so it is off unless the process was
//! started with it, and even then only a person on the same host changes it ([`super::by_hand`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::task::AbortHandle;
use tracing::info;

use super::by_hand::{Ends, refusal};
use super::logs::LogLevel;

/// How long a changed level holds: nobody is there to remember that it was changed.
pub const HOLDS: Duration = Duration::from_secs(60 * 60);

/// In bytes.
pub(super) const LONGEST_LEVEL: usize = 1024;

/// Changes the level, and back. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LevelSwitch {
    level: LogLevel,
    way_back: Arc<Mutex<Option<AbortHandle>>>,
}

impl LevelSwitch {
    /// A switch for this level.
    #[must_use]
    pub fn new(level: LogLevel) -> Self {
        Self { level, way_back: Arc::default() }
    }

    fn change(&self, wanted: &str) -> Result<(), super::logs::LogError> {
        self.level.change(wanted)?;
        info!(level = wanted, "the log level was changed; in an hour it is again that of the start");
        let level = self.level.clone();
        let back = tokio::spawn(async move {
            tokio::time::sleep(HOLDS).await;
            if level.change(level.at_start()).is_ok() {
                info!(level = level.at_start(), "the log level is again that of the start");
            }
        });
        let mut way_back = self.way_back.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = way_back.replace(back.abort_handle()) {
            before.abort();
        }
        Ok(())
    }
}

pub(super) async fn put(
    State(switch): State<Option<LevelSwitch>>,
    Extension(ends): Extension<Ends>,
    uri: Uri,
    headers: HeaderMap,
    level: String,
) -> Response {
    let Some(switch) = switch else {
        let text = "the level is not changed from here; start with --allow-log-level-changes to allow it\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    };
    if let Some(why) = refusal(ends, &uri, &headers) {
        return (StatusCode::FORBIDDEN, format!("{why}\n")).into_response();
    }
    match switch.change(level.trim()) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::logs::level_for_tests;

    #[tokio::test(start_paused = true)]
    async fn a_changed_level_ends_an_hour_after_the_last_change() {
        let (level, changes) = level_for_tests("info");
        let switch = LevelSwitch::new(level);
        switch.change("debug").unwrap();
        tokio::time::sleep(HOLDS / 2).await;
        assert!(switch.change("loud").is_err());
        switch.change("trace").unwrap();
        tokio::time::sleep(HOLDS - Duration::from_secs(1)).await;
        assert_eq!(*changes.lock().unwrap(), ["debug", "trace"]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(*changes.lock().unwrap(), ["debug", "trace", "info"]);
    }
}
