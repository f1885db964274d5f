//! The parts of the shell, put together.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc::{self, Receiver, Sender};

use super::collisions::{self, Collision};
use super::manifest_secrets::ManifestSecrets;
use super::manifests::folder::Folder;
pub use super::manifests::plan::Parts;
use super::manifests::plan::Planner;
use super::manifests::references::references;
use super::manifests::watch::{Outlets, Watch};
use super::publish::PublishFolder;
use super::secrets::SidecarSecrets;
use super::state::{State, StateError};
use crate::engine::change::Change;
use crate::engine::ports::{Claim, Leadership, Random};
use crate::gate::change::ReceiverChange;
use crate::rotation::time::Moment;

/// How many changes may wait for the engine, and for the gate.
const CHANGES: usize = 256;

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of manifests.
    pub manifests: PathBuf,
    /// The state file.
    pub state: PathBuf,
    /// The folder of Secrets, if there is one.
    pub secrets_dir: Option<PathBuf>,
    /// The folder to publish into, if there is one.
    pub publish_dir: Option<PathBuf>,
    /// Which parts run in this process.
    pub parts: Parts,
    /// What is gone follows its deletion policy.
    pub prune: bool,
    /// Secrets that do not say to which hosts they may be sent are sent nowhere.
    pub require_allowed_hosts: bool,
}

/// Why the shell cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state file cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is no folder of manifests, and nothing is remembered that could be kept up without it.
    #[error("the folder of manifests {} cannot be read: {problem}", .path.display())]
    Manifests {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        problem: String,
    },
    /// Two Secrets that the manifests name are one variable or one file, which is there.
    #[error("{0}; otherwise one of them could be sent where only the other one may go")]
    Collision(Box<Collision>),
}

/// The engine's ports that this shell implements, and the source of changes.
pub struct Shell {
    /// [`crate::engine::ports::Record`].
    pub state: State,
    /// [`crate::engine::ports::Secrets`].
    pub secrets: SidecarSecrets,
    /// [`crate::engine::ports::Publish`].
    pub publish: PublishFolder,
    /// What the engine receives; nothing where none runs.
    pub changes: Receiver<Change>,
    /// For others who have something to tell the engine.
    pub to_engine: Sender<Change>,
    /// What the gate receives; nothing where none runs.
    pub receiver_changes: Receiver<ReceiverChange>,
    /// Sends it; must be run.
    pub watch: Watch,
}

impl Shell {
    /// Locks and reads the state file; nothing else is read yet.
    ///
    /// # Errors
    /// When the process must not start; nothing was changed.
    pub fn open(settings: Settings, random: Arc<dyn Random>) -> Result<Self, StartError> {
        let state = State::open(&settings.state)?;
        if let Err(error) = std::fs::read_dir(&settings.manifests) {
            // A mount that is late must not end the care for what is already there.
            if state.entries().is_empty() {
                return Err(StartError::Manifests { path: settings.manifests, problem: error.to_string() });
            }
        }
        let references = references(&settings.manifests);
        let manifests = ManifestSecrets::default();
        let secrets = SidecarSecrets::new(
            manifests.clone(),
            settings.secrets_dir,
            settings.require_allowed_hosts,
            random.bits(),
        );
        let found = collisions::among(&references).into_iter().find(|found| secrets.has(&found.place));
        if let Some(found) = found {
            return Err(StartError::Collision(Box::new(found)));
        }
        let (of_engine, changes) = mpsc::channel(CHANGES);
        let (of_gate, receiver_changes) = mpsc::channel(CHANGES);
        let outlets = Outlets {
            engine: settings.parts.has_engine().then_some(of_engine.clone()),
            gate: settings.parts.has_gate().then_some(of_gate),
        };
        let watch = Watch::new(
            Folder::new(settings.manifests),
            Planner::new(settings.prune, settings.parts),
            state.clone(),
            manifests,
            random,
            outlets,
        );
        let publish = PublishFolder::new(settings.publish_dir);
        Ok(Self { state, secrets, publish, changes, to_engine: of_engine, receiver_changes, watch })
    }
}

/// Nobody else acts: the lock on the state file sees to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Leadership for Alone {
    fn claim(&self) -> Option<Claim> {
        Some(Claim {
            term: 1,
            until: Moment { wall: chrono::DateTime::<chrono::Utc>::MAX_UTC, boot: std::time::Duration::MAX },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ops::system::SystemRandom;

    fn settings(folder: &Path) -> Settings {
        Settings {
            manifests: folder.join("manifests"),
            state: folder.join("state.json"),
            secrets_dir: None,
            publish_dir: None,
            parts: Parts::Engine,
            prune: false,
            require_allowed_hosts: false,
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_matters_only_at_the_very_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Shell::open(settings(folder.path()), Arc::new(SystemRandom));
        assert!(matches!(open(), Err(StartError::Manifests { .. })));
        std::fs::create_dir(folder.path().join("manifests")).unwrap();
        let shell = open().unwrap();
        let key = crate::api::ObjectKey::new("default", "gupy");
        let kind = crate::api::Kind::WebhookProvider;
        shell.state.declare(kind, &key, "u", 1, "d", None);
        shell.state.flush().await.unwrap();
        drop(shell);
        std::fs::remove_dir(folder.path().join("manifests")).unwrap();
        assert!(open().is_ok());
    }
}
