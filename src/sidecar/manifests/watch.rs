//! The loop that keeps the desired state up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chrono::Utc;
use tokio::sync::mpsc::Sender;
use tracing::{info, warn};

use super::document::{self, FileContent};
use super::files::FileView;
use super::folder::{FileRead, Folder, FolderRead};
use super::plan::{Plan, Planner};
use crate::api::Kind;
use crate::api::manifest::{MOST_DOCUMENTS, MOST_TOLD};
use crate::engine::change::Change;
use crate::engine::ports::Random;
use crate::gate::change::ReceiverChange;
use crate::sidecar::manifest_secrets::ManifestSecrets;
use crate::sidecar::state::State;

/// How often the folder is looked at.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Who receives what changes: the parts that run in this process.
#[derive(Debug)]
pub struct Outlets {
    /// The engine's.
    pub engine: Option<Sender<Change>>,
    /// The gate's.
    pub gate: Option<Sender<ReceiverChange>>,
}

impl Outlets {
    /// The gate is told first, so that it knows the receivers of a source before the engine mints for it.
    async fn send(&self, changes: Vec<Change>, of_gate: Vec<ReceiverChange>) -> Result<(), NobodyListens> {
        if let Some(gate) = &self.gate {
            for change in of_gate {
                gate.send(change).await.map_err(|_| NobodyListens)?;
            }
        }
        if let Some(engine) = &self.engine {
            for change in changes {
                engine.send(change).await.map_err(|_| NobodyListens)?;
            }
        }
        Ok(())
    }

    /// Ends when one of them receives no more.
    async fn closed(&self) {
        async fn closed<T>(sender: Option<&Sender<T>>) {
            match sender {
                Some(sender) => sender.closed().await,
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = closed(self.engine.as_ref()) => {}
            () = closed(self.gate.as_ref()) => {}
        }
    }
}

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
    outlets: Outlets,
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
        outlets: Outlets,
    ) -> Self {
        Self { folder, hands: Hands { planner, state, secrets, random, outlets } }
    }

    /// Runs until nobody receives the changes any more, or the task is ended. `synced` is called
    /// once, when the first look has been handed over.
    pub async fn run(self, synced: impl FnOnce() + Send) {
        let Self { mut folder, mut hands } = self;
        let mut synced = Some(synced);
        let mut documents = Documents::default();
        loop {
            let looked = tokio::task::spawn_blocking(move || look(folder, documents)).await;
            // Only a panic or the end of the runtime makes this fail; who runs us sees the end.
            let Ok((seen, counted, read)) = looked else {
                return;
            };
            (folder, documents) = (seen, counted);
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
                () = hands.outlets.closed() => return,
            }
        }
    }
}

/// Nobody receives the changes any more.
struct NobodyListens;

impl Hands {
    /// Does what a look demands; returns the files that are needed again.
    async fn over(&mut self, read: Look) -> Result<BTreeSet<String>, NobodyListens> {
        // Before anything is read that they name.
        if let Ok(files) = &read.files {
            self.secrets.retain_files(|file| files.contains_key(file));
            for (name, view) in files {
                if let FileView::Content(content) = view {
                    self.secrets.refer(name, content.secret_references());
                }
            }
        }
        let random = &self.random;
        let plan =
            self.planner.plan(read.files, &self.state.entries(), Instant::now(), Utc::now(), &mut || {
                format!("{:016x}{:016x}", random.bits(), random.bits())
            });
        let Plan {
            declarations,
            forgotten,
            gone,
            changes,
            receiver_changes,
            warnings,
            read_again,
            secrets_changed,
        } = plan;
        for warning in first_of(warnings) {
            warn!("{warning}");
        }
        if secrets_changed {
            self.secrets.replace(self.planner.secrets().clone());
        }
        let to_write = !declarations.is_empty() || !forgotten.is_empty() || !gone.is_empty();
        for declared in declarations {
            self.state.declare(
                declared.kind,
                &declared.key,
                &declared.uid,
                declared.generation,
                &declared.spec_digest,
                declared.valid,
            );
            if let Some(created) = declared.created {
                self.state.created(declared.kind, &declared.key, created);
            }
        }
        for (key, since) in gone {
            self.state.gone(Kind::WebhookReceiver, &key, since);
        }
        for (kind, key) in forgotten {
            self.state.forget(kind, &key);
        }
        if to_write && let Err(error) = self.state.flush().await {
            // The next record tries again; what must be durable before a call waits for it.
            warn!("{error}");
        }
        self.outlets.send(changes, receiver_changes).await?;
        Ok(read_again)
    }
}

struct Look {
    files: Result<BTreeMap<String, FileView>, String>,
    changed: bool,
}

/// Reads and understands: both take time that no other task should wait for.
fn look(mut folder: Folder, mut documents: Documents) -> (Folder, Documents, Look) {
    let FolderRead { files, mut changed } = folder.look(SystemTime::now());
    let files = files.map(|files| {
        documents.0.retain(|name, _| files.contains_key(name));
        let mut views = BTreeMap::new();
        for (name, read) in files {
            let view = documents.admit(&name, view(read));
            views.insert(name, view);
        }
        for name in documents.for_another_try() {
            folder.read_again(&name);
            changed = true;
        }
        views
    });
    (folder, documents, Look { files, changed })
}

/// How many documents each file has; `None` for one that was refused because there were too many in
/// the folder with it.
#[derive(Debug, Default)]
struct Documents(BTreeMap<String, Option<usize>>);

impl Documents {
    fn count(&self) -> usize {
        self.0.values().flatten().sum()
    }

    /// Lets a file's content in as long as the whole folder has no more documents than one file may.
    fn admit(&mut self, name: &str, view: FileView) -> FileView {
        let FileView::Content(content) = &view else {
            if matches!(view, FileView::Unreadable(_)) {
                self.0.remove(name);
            }
            return view;
        };
        self.0.remove(name);
        if self.count() + content.documents > MOST_DOCUMENTS {
            self.0.insert(name.to_owned(), None);
            return FileView::Unreadable(format!(
                "with it there are more than {MOST_DOCUMENTS} documents in the folder"
            ));
        }
        self.0.insert(name.to_owned(), Some(content.documents));
        view
    }

    /// The refused files, when there has come to be room: at the latest when half of it is free.
    fn for_another_try(&mut self) -> Vec<String> {
        if self.count() > MOST_DOCUMENTS / 2 {
            return Vec::new();
        }
        let refused: Vec<String> =
            self.0.iter().filter(|(_, count)| count.is_none()).map(|(name, _)| name.clone()).collect();
        for name in &refused {
            self.0.remove(name);
        }
        refused
    }
}

/// The first warnings of a look, and how many there are besides.
fn first_of(mut warnings: Vec<String>) -> Vec<String> {
    let more = warnings.len().saturating_sub(MOST_TOLD);
    warnings.truncate(MOST_TOLD);
    if more > 0 {
        warnings.push(format!("and {more} more; `hookkeeper check` on the folder counts them"));
    }
    warnings
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
    use super::super::plan::Parts;
    use super::*;
    use crate::api::ObjectKey;
    use crate::engine::ports::Record;

    fn content(documents: usize) -> FileView {
        FileView::Content(FileContent { documents, ..FileContent::default() })
    }

    #[test]
    fn a_folder_has_no_more_documents_than_a_file_may() {
        let mut documents = Documents::default();
        let admitted = |view: FileView| matches!(view, FileView::Content(_));
        assert!(admitted(documents.admit("a.yaml", content(MOST_DOCUMENTS - 10))));
        assert!(!admitted(documents.admit("b.yaml", content(11))));
        assert!(admitted(documents.admit("c.yaml", content(10))));
        assert_eq!(documents.for_another_try(), Vec::<String>::new());
        // A file that is read again counts once.
        assert!(admitted(documents.admit("a.yaml", content(100))));
        assert_eq!(documents.for_another_try(), ["b.yaml"]);
        assert_eq!(documents.for_another_try(), Vec::<String>::new());
        assert!(admitted(documents.admit("b.yaml", content(11))));
    }

    #[test]
    fn the_first_warnings_are_told_and_the_others_counted() {
        let warnings = |many: usize| (0..many).map(|number| number.to_string()).collect::<Vec<_>>();
        assert_eq!(first_of(warnings(MOST_TOLD)), warnings(MOST_TOLD));
        let told = first_of(warnings(347_000));
        assert_eq!(told.len(), MOST_TOLD + 1);
        assert_eq!(told[MOST_TOLD], "and 346744 more; `hookkeeper check` on the folder counts them");
    }

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
            Planner::new(false, Parts::Engine),
            state.clone(),
            ManifestSecrets::default(),
            Arc::new(Ones),
            Outlets { engine: Some(sender), gate: None },
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
