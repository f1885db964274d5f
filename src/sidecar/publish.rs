//! Published tokens as files: `DIR/<secret>/<key>`, as a mounted Secret shows them.
//!
//! A receiver reads several keys that belong together, so they change together, the way kubelet
//! does it: the keys are links into `..data`, which is a link to a folder that is written once and
//! never changed. Swapping that one link swaps all keys. A reader that wants one consistent set
//! resolves `..data` first; one that only reads `current` needs to know nothing. Mount or share the
//! folder `<secret>`, not a single file of it: a file that is mounted by itself never changes.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;

use super::durable;
use super::names;
use crate::api::ObjectKey;
use crate::engine::ports::{Publish, PublishFailure, Published};
use crate::rotation::published::{Changed, KEYS};
use crate::secret::SecretText;

/// Holds the name of the `TokenSource` a folder belongs to; without it the folder is not ours.
const MARKER: &str = ".hookkeeper";
/// Holds the hosts that the tokens may be sent to, one a line, where something says so: what the
/// annotation `hookkeeper.dev/allowed-hosts` is to a Secret.
const HOSTS: &str = ".allowed-hosts";
/// The link that is swapped.
const DATA: &str = "..data";
/// The next link, before it takes the other's name.
const NEXT: &str = "..data.next";
/// How the folders it points to begin.
const VERSION_PREFIX: &str = "..version-";

/// Publishes into folders of one parent folder.
#[derive(Clone, Debug)]
pub struct PublishFolder {
    /// `None` when nobody said where to publish.
    parent: Option<PathBuf>,
    /// One write at a time; held by the write itself, which goes on when its caller is gone.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl PublishFolder {
    /// Publishes below this folder, which is made when it is first needed. Without one, every
    /// `publishTo` fails and says which argument is missing.
    #[must_use]
    pub fn new(parent: Option<PathBuf>) -> Self {
        Self { parent, turn: Arc::default() }
    }

    fn folder(&self, secret_name: &str) -> Result<PathBuf, PublishFailure> {
        let parent = self.parent.as_ref().ok_or_else(|| {
            PublishFailure::Unavailable(
                "publishTo needs a folder; start hookkeeper with --publish-dir DIR".to_owned(),
            )
        })?;
        if !names::is_secret_name(secret_name) {
            return Err(PublishFailure::Unavailable(
                "the Secret's name is no name of a Kubernetes object".to_owned(),
            ));
        }
        Ok(parent.join(secret_name))
    }

    /// Runs file operations where they may block, one at a time.
    async fn run<Output: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<Output, PublishFailure> + Send + 'static,
    ) -> Result<Output, PublishFailure> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
        .unwrap_or_else(|_| Err(PublishFailure::Unavailable("the files could not be worked on".to_owned())))
    }
}

impl Publish for PublishFolder {
    fn read<'a>(
        &'a self,
        source: &'a ObjectKey,
        secret_name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Published>, PublishFailure>> {
        Box::pin(async move {
            let folder = self.folder(secret_name)?;
            let source = source.to_string();
            self.run(move || read(&folder, &source)).await
        })
    }

    fn write<'a>(
        &'a self,
        source: &'a ObjectKey,
        secret_name: &'a str,
        tokens: &'a Published,
    ) -> BoxFuture<'a, Result<(), PublishFailure>> {
        Box::pin(async move {
            let folder = self.folder(secret_name)?;
            let source = source.to_string();
            let tokens = tokens.clone();
            self.run(move || write(&folder, &source, &tokens)).await
        })
    }
}

fn read(folder: &Path, source: &str) -> Result<Option<Published>, PublishFailure> {
    if !is_ours(folder, source)? {
        return Ok(None);
    }
    let version = match fs::read_link(folder.join(DATA)) {
        Ok(version) => folder.join(version),
        // A crash came between the folder and its first content.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable("read", folder, &error)),
    };
    let mut values = HashMap::new();
    for key in KEYS {
        match fs::read_to_string(version.join(key)) {
            Ok(text) => drop(values.insert(key, SecretText::new(text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unavailable("read", folder, &error)),
        }
    }
    let allowed_hosts = hosts_in(&version).map_err(|error| unavailable("read", folder, &error))?;
    let tokens = Published::from_entries(|key| values.remove(key));
    tokens
        .map(|tokens| Some(Published { allowed_hosts, ..tokens }))
        .map_err(|Changed(key)| changed(folder, key))
}

/// The `TokenSource` that publishes in this folder, as `NAMESPACE/NAME`; `None` when none does.
///
/// # Errors
/// When that cannot be read.
pub(super) fn owner(folder: &Path) -> io::Result<Option<String>> {
    if_there(fs::read_to_string(folder.join(MARKER)))
}

/// The hosts that the tokens in a folder may be sent to; `None` when nothing says so.
///
/// # Errors
/// When that cannot be read.
pub(super) fn allowed_hosts(folder: &Path) -> io::Result<Option<Vec<String>>> {
    hosts_in(&folder.join(DATA))
}

fn hosts_in(version: &Path) -> io::Result<Option<Vec<String>>> {
    let text = if_there(fs::read_to_string(version.join(HOSTS)))?;
    Ok(text.map(|text| text.lines().map(str::to_owned).collect()))
}

fn if_there(read: io::Result<String>) -> io::Result<Option<String>> {
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn write(folder: &Path, source: &str, tokens: &Published) -> Result<(), PublishFailure> {
    if !is_ours(folder, source)? {
        create(folder, source).map_err(|error| unavailable("made", folder, &error))?;
    }
    swap(folder, tokens).map_err(|error| unavailable("written", folder, &error))
}

/// Makes the folder with its marker in it, so that it is ours as soon as it has its name.
fn create(folder: &Path, source: &str) -> io::Result<()> {
    let parent = durable::folder_of(folder);
    fs::create_dir_all(parent)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(folder.file_name().unwrap_or_default());
    hidden.push(".new");
    let unnamed = folder.with_file_name(hidden);
    remove_folder(&unnamed)?;
    private_folder(&unnamed)?;
    durable::create(&unnamed.join(MARKER), source.as_bytes())?;
    durable::sync_folder(&unnamed)?;
    fs::rename(&unnamed, folder)?;
    durable::sync_folder(parent)
}

fn swap(folder: &Path, tokens: &Published) -> io::Result<()> {
    let before = fs::read_link(folder.join(DATA)).ok();
    let version = unused_version(folder)?;
    let inside = folder.join(&version);
    let written = tokens.entries();
    if let Err(error) = fill(&inside, &written, tokens.allowed_hosts.as_deref()) {
        // A disk that is full is tried again and again; what each attempt left would stay.
        let _ = remove_folder(&inside);
        return Err(error);
    }

    let next = folder.join(NEXT);
    remove_file(&next)?;
    std::os::unix::fs::symlink(&version, &next)?;
    fs::rename(&next, folder.join(DATA))?;

    for key in KEYS {
        let link = folder.join(key);
        if written.iter().any(|(name, _)| *name == key) {
            match std::os::unix::fs::symlink(Path::new(DATA).join(key), &link) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        } else {
            remove_file(&link)?;
        }
    }
    durable::sync_folder(folder)?;
    remove_others(folder, &version, before.as_deref())
}

/// Makes a version's folder with its keys.
fn fill(
    folder: &Path,
    contents: &[(&'static str, SecretText)],
    allowed_hosts: Option<&[String]>,
) -> io::Result<()> {
    private_folder(folder)?;
    if let Some(hosts) = allowed_hosts {
        durable::create(&folder.join(HOSTS), hosts.join("\n").as_bytes())?;
    }
    for (key, text) in contents {
        durable::create(&folder.join(key), text.expose().as_bytes())?;
    }
    durable::sync_folder(folder)
}

/// Removes what no reader can come upon any more. The version before the last swap stays: a reader
/// may have resolved the link a moment ago.
fn remove_others(folder: &Path, version: &str, before: Option<&Path>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let kept = name == version || before.is_some_and(|before| before.as_os_str() == name);
        if !kept && name.to_string_lossy().starts_with(VERSION_PREFIX) {
            remove_folder(&folder.join(name))?;
        }
    }
    Ok(())
}

/// A name that no version has, also after a crash.
fn unused_version(folder: &Path) -> io::Result<String> {
    let mut highest: u64 = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(VERSION_PREFIX))
            .and_then(|number| number.parse().ok());
        highest = highest.max(number.unwrap_or(0));
    }
    Ok(format!("{VERSION_PREFIX}{}", highest.wrapping_add(1)))
}

/// Whether the folder exists and belongs to the source; one that belongs to anybody else is a
/// conflict.
fn is_ours(folder: &Path, source: &str) -> Result<bool, PublishFailure> {
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unavailable("read", folder, &error)),
        Ok(_) => {}
    }
    match fs::read_to_string(folder.join(MARKER)) {
        Ok(owner) if owner == source => Ok(true),
        Ok(_) => Err(conflict(folder)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidData
            ) =>
        {
            Err(conflict(folder))
        }
        Err(error) => Err(unavailable("read", folder, &error)),
    }
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn conflict(folder: &Path) -> PublishFailure {
    PublishFailure::Conflict(folder.display().to_string())
}

fn unavailable(done: &str, folder: &Path, error: &io::Error) -> PublishFailure {
    let remedy = match error.kind() {
        io::ErrorKind::ResourceBusy => "it is a mount point of its own: mount the folder above it",
        _ => durable::remedy(error),
    };
    PublishFailure::Unavailable(format!("{} could not be {done}: {error}; {remedy}", folder.display()))
}

fn changed(folder: &Path, key: &str) -> PublishFailure {
    PublishFailure::Unavailable(format!(
        "{} was changed by somebody else: its key {key} cannot be used; remove the folder to have it written again",
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::rotation::published::{CURRENT, FINGERPRINT};

    fn source() -> ObjectKey {
        ObjectKey::new("default", "integration")
    }

    fn published(current: &str, previous: Option<&str>) -> Published {
        Published {
            current: current.into(),
            previous: previous.map(SecretText::from),
            previous_fingerprint: previous.map(|previous| format!("of-{previous}")),
            fingerprint: "9f3ac1d27be0114c".to_owned(),
            minted: "2026-11-21T17:00:02.123456789Z".parse().unwrap(),
            expires: Some("2026-11-21T18:00:02Z".parse().unwrap()),
            allowed_hosts: None,
        }
    }

    #[tokio::test]
    async fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let publish = PublishFolder::new(Some(folder.path().join("made/when/needed")));
        assert_eq!(publish.read(&source(), "tokens").await, Ok(None));
        for tokens in [
            published("one", None),
            published("two", Some("one")),
            Published { expires: None, ..published("three", None) },
        ] {
            publish.write(&source(), "tokens", &tokens).await.unwrap();
            assert_eq!(publish.read(&source(), "tokens").await, Ok(Some(tokens.clone())));
            let folder = folder.path().join("made/when/needed/tokens");
            let current = fs::read_to_string(folder.join("current")).unwrap();
            assert_eq!(current, tokens.current.expose());
            assert_eq!(folder.join("previous").exists(), tokens.previous.is_some());
            assert_eq!(folder.join("previousFingerprint").exists(), tokens.previous.is_some());
            assert_eq!(folder.join("expiresAt").exists(), tokens.expires.is_some());
        }
    }

    #[tokio::test]
    async fn only_the_owner_can_read_and_old_versions_go() {
        let folder = tempfile::tempdir().unwrap();
        let publish = PublishFolder::new(Some(folder.path().to_owned()));
        for number in 0..5 {
            let tokens = published(&number.to_string(), None);
            publish.write(&source(), "tokens", &tokens).await.unwrap();
        }
        let folder = folder.path().join("tokens");
        for key in ["current", "expiresAt", "fingerprint", "mintedTime"] {
            let mode = fs::metadata(folder.join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let versions = fs::read_dir(&folder)
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().starts_with(VERSION_PREFIX)
            })
            .count();
        assert_eq!(versions, 2);
    }

    #[tokio::test]
    async fn a_reader_never_sees_half_of_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let publish = PublishFolder::new(Some(folder.path().to_owned()));
        let write = |number: u32| {
            let tokens =
                Published { fingerprint: number.to_string(), ..published(&number.to_string(), None) };
            let publish = publish.clone();
            async move { publish.write(&source(), "tokens", &tokens).await.unwrap() }
        };
        write(0).await;
        let data = folder.path().join("tokens").join(DATA);
        let reader = std::thread::spawn(move || {
            loop {
                let version = data.parent().unwrap().join(fs::read_link(&data).unwrap());
                // Two swaps may have come in between; then it resolves the link again.
                let Ok(current) = fs::read_to_string(version.join(CURRENT)) else {
                    continue;
                };
                let Ok(fingerprint) = fs::read_to_string(version.join(FINGERPRINT)) else {
                    continue;
                };
                assert_eq!(current, fingerprint);
                if current == "100" {
                    return;
                }
            }
        });
        for number in 1..=100 {
            write(number).await;
        }
        reader.join().unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_is_not_ours_is_a_conflict_and_stays_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let publish = PublishFolder::new(Some(folder.path().to_owned()));
        fs::create_dir(folder.path().join("theirs")).unwrap();
        fs::write(folder.path().join("theirs/current"), "x").unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        publish.write(&ObjectKey::new("default", "other"), "others", &published("x", None)).await.unwrap();
        for name in ["theirs", "file", "others"] {
            let result = publish.write(&source(), name, &published("y", None)).await;
            assert!(matches!(result, Err(PublishFailure::Conflict(_))), "{name}");
            let result = publish.read(&source(), name).await;
            assert!(matches!(result, Err(PublishFailure::Conflict(_))), "{name}");
        }
        assert_eq!(fs::read(folder.path().join("theirs/current")).unwrap(), b"x");
    }

    #[tokio::test]
    async fn what_a_crash_leaves_is_no_obstacle() {
        let parent = tempfile::tempdir().unwrap();
        let publish = PublishFolder::new(Some(parent.path().to_owned()));
        // Between the temporary folder and its name.
        fs::create_dir(parent.path().join(".tokens.new")).unwrap();
        publish.write(&source(), "tokens", &published("one", None)).await.unwrap();
        // Between a version, the next link, and the swap.
        let folder = parent.path().join("tokens");
        fs::create_dir(folder.join("..version-2")).unwrap();
        std::os::unix::fs::symlink("..version-2", folder.join(NEXT)).unwrap();
        assert_eq!(publish.read(&source(), "tokens").await, Ok(Some(published("one", None))));
        publish.write(&source(), "tokens", &published("two", None)).await.unwrap();
        assert_eq!(publish.read(&source(), "tokens").await, Ok(Some(published("two", None))));
        // Between the folder and its first content.
        fs::create_dir(parent.path().join("empty")).unwrap();
        fs::write(parent.path().join("empty").join(MARKER), "default/integration").unwrap();
        assert_eq!(publish.read(&source(), "empty").await, Ok(None));
    }

    #[tokio::test]
    async fn names_that_lead_out_of_the_folder_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let inner = parent.path().join("inner");
        let publish = PublishFolder::new(Some(inner));
        for name in ["../outside", "..", ".", "", "/etc/x", "a/b", ".hidden"] {
            let result = publish.write(&source(), name, &published("x", None)).await;
            assert!(matches!(result, Err(PublishFailure::Unavailable(_))), "{name}");
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn without_a_folder_the_argument_is_named() {
        let publish = PublishFolder::new(None);
        let error = publish.read(&source(), "tokens").await.unwrap_err();
        assert!(error.to_string().contains("--publish-dir"), "{error}");
    }
}
