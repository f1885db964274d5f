//! The loop that keeps the desired state up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::Sender;
use tracing::{info, warn};

use super::document::{self, FileContent};
use super::files::FileView;
use super::folder::{FileRead, Folder, FolderRead};
use super::plan::{Plan, Planner};
use crate::engine::change::Change;
use crate::engine::ports::Random;
use crate::sidecar::secrets::ManifestSecrets;
use crate::sidecar::state::State;

/// How often the folder is looked at.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Looks at the folder again and again and hands over what changed, the last good version of
/// everything and [`Change::Synced`] first. Ends when nobody receives the changes any more.
pub struct Watch {
    folder: Folder,
    hands: Hands,
}

/// Everything but the eyes.
struct Hands {
    planner: Planner,
    state: State,
    secrets: ManifestSecrets,
    random: Arc<dyn Random>,
    changes: Sender<Change>,
}

impl Watch {
    /// Gets ready; `random` is what new objects' uids are made of.
    #[must_use]
    pub fn new(
        folder: Folder,
        planner: Planner,
        state: State,
        secrets: ManifestSecrets,
        random: Arc<dyn Random>,
        changes: Sender<Change>,
    ) -> Self {
        Self { folder, hands: Hands { planner, state, secrets, random, changes } }
    }

    /// Runs until nobody receives the changes any more, or the task is ended. `synced` is called
    /// once, when the first look has been handed over.
    pub async fn run(self, synced: impl FnOnce() + Send) {
        let Self { mut folder, mut hands } = self;
        let mut synced = Some(synced);
        loop {
            let looked = tokio::task::spawn_blocking(move || look(folder)).await;
            // Only a panic or the end of the runtime makes this fail; who runs us sees the end.
            let Ok((seen, read)) = looked else {
                return;
            };
            folder = seen;
            if synced.is_some() || read.changed || hands.planner.waits() {
                let Ok(read_again) = hands.over(read).await else {
                    return;
                };
                for name in read_again {
                    folder.read_again(&name);
                }
            }
            if let Some(synced) = synced.take() {
                info!(folder = %folder.path().display(), "manifests read");
                synced();
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = hands.changes.closed() => return,
            }
        }
    }
}

/// Nobody receives the changes any more.
struct NobodyListens;

impl Hands {
    /// Does what a look demands; returns the files that are needed again.
    async fn over(&mut self, read: Look) -> Result<BTreeSet<String>, NobodyListens> {
        let random = &self.random;
        let plan = self.planner.plan(read.files, &self.state.entries(), Instant::now(), &mut || {
            format!("{:016x}{:016x}", random.bits(), random.bits())
        });
        let Plan { declarations, forgotten, changes, warnings, read_again, secrets_changed } = plan;
        for warning in warnings {
            warn!("{warning}");
        }
        if secrets_changed {
            self.secrets.replace(self.planner.secrets().clone());
        }
        let to_write = !declarations.is_empty() || !forgotten.is_empty();
        for declared in declarations {
            self.state.declare(
                declared.kind,
                &declared.key,
                &declared.uid,
                declared.generation,
                &declared.spec_digest,
                declared.valid,
            );
        }
        for (kind, key) in forgotten {
            self.state.forget(kind, &key);
        }
        if to_write && let Err(error) = self.state.flush().await {
            // The next record tries again; what must be durable before a call waits for it.
            warn!("{error}");
        }
        for change in changes {
            let sent = self.changes.send(change).await;
            sent.map_err(|_| NobodyListens)?;
        }
        Ok(read_again)
    }
}

struct Look {
    files: Result<BTreeMap<String, FileView>, String>,
    changed: bool,
}

/// Reads and understands: both take time that no other task should wait for.
fn look(mut folder: Folder) -> (Folder, Look) {
    let FolderRead { files, changed } = folder.look(SystemTime::now());
    let files = files.map(|files| {
        let views = files.into_iter().map(|(name, read)| (name, view(read)));
        views.collect()
    });
    (folder, Look { files, changed })
}

fn view(read: FileRead) -> FileView {
    match read {
        FileRead::Unchanged => FileView::Unchanged,
        FileRead::Unreadable(problem) => FileView::Unreadable(problem),
        FileRead::Text { text, version } => {
            let content: FileContent = document::understand(text.expose(), &version);
            FileView::Content(content)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Kind, ObjectKey};
    use crate::engine::ports::Record;

    struct Ones;

    impl Random for Ones {
        fn bits(&self) -> u64 {
            1
        }
    }

    const PROVIDER: &str = "{apiVersion: hookkeeper.dev/v1alpha1, kind: WebhookProvider, metadata: {name: gupy}, spec: {preset: gupy, auth: {none: {}}}}";

    /// Real files and a real state file; the loop's own waiting is what is waited for.
    #[tokio::test]
    async fn changes_arrive_and_are_remembered_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifests");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("a.yaml"), PROVIDER).unwrap();
        let state_path = directory.path().join("state.json");
        let state = State::open(&state_path).unwrap();
        let (sender, mut changes) = tokio::sync::mpsc::channel(1);
        let watch = Watch::new(
            Folder::new(path.clone()),
            Planner::new(false),
            state.clone(),
            ManifestSecrets::default(),
            Arc::new(Ones),
            sender,
        );
        let (synced, is_synced) = tokio::sync::oneshot::channel();
        let watching = tokio::spawn(watch.run(move || {
            let _ = synced.send(());
        }));

        let Some(Change::Provider(provider)) = changes.recv().await else {
            panic!("no provider");
        };
        assert_eq!(provider.identity.uid, "00000000000000010000000000000001");
        let text = std::fs::read_to_string(&state_path).unwrap();
        assert!(text.contains(&provider.identity.uid), "{text}");
        assert!(matches!(changes.recv().await, Some(Change::Synced)));
        is_synced.await.unwrap();

        let status = crate::api::WebhookProviderStatus { observed_generation: Some(1), ..Default::default() };
        let key = ObjectKey::new("default", "gupy");
        state.provider(&key, &status).await.unwrap();
        std::fs::write(path.join("a.yaml"), PROVIDER.replace("preset: gupy", "preset: gupy, suspend: true"))
            .unwrap();
        let Some(Change::Provider(provider)) = changes.recv().await else {
            panic!("no provider");
        };
        assert_eq!(provider.identity.generation, 2);
        assert_eq!(provider.status, status);
        assert!(state.remembers(Kind::WebhookProvider, &key));

        // Nobody listens any more: the loop ends.
        drop(changes);
        watching.await.unwrap();
    }
}
