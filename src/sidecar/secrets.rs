//! Secrets without a cluster.
//!
//! A value is looked for in this order, and the first place that has the key wins:
//! 1. Secret manifests in the folder of manifests;
//! 2. `DIR/<secret>/<key>` below `--secrets-dir`, as mounted Secrets are laid out;
//! 3. `DIR/<secret>.<key>`, as compose secrets and systemd credentials are laid out;
//! 4. the variable `HOOKKEEPER_SECRET_<SECRET>_<KEY>`: letters in upper case, digits as they are,
//!    everything else `_`.
//!
//! Files and variables know no namespaces: whoever runs the process gives them to all of them.
//! Of a file, one line break at its end is no part of the value, because editors and `echo` put it
//! there. Files are read at the moment of use, so a new value needs no restart.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::BoxFuture;

use super::manifests::folder::stamp;
use super::names;
use crate::api::{ObjectKey, SecretKeyReference};
use crate::engine::ports::{SecretFailure, SecretValue, Secrets};
use crate::secret::SecretText;

/// Largest value, in bytes: what an API server takes for a whole Secret.
pub const VALUE_LIMIT: u64 = 1024 * 1024;

/// A Secret from a manifest.
#[derive(Clone, Debug)]
pub struct SecretManifest {
    /// The values by key.
    pub data: BTreeMap<String, SecretText>,
    /// The hosts the values may be sent to, where the manifest says so.
    pub allowed_hosts: Option<Vec<String>>,
    /// Identity of the file it stands in.
    pub version: String,
}

/// The Secrets of the manifests in force; whoever reads the manifests replaces them.
#[derive(Clone, Debug, Default)]
pub struct ManifestSecrets(Arc<RwLock<BTreeMap<ObjectKey, SecretManifest>>>);

impl ManifestSecrets {
    /// Puts these in the place of all before.
    pub fn replace(&self, secrets: BTreeMap<ObjectKey, SecretManifest>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }

    fn get(&self, key: &ObjectKey) -> Option<SecretManifest> {
        let secrets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        secrets.get(key).cloned()
    }
}

type Environment = Arc<dyn Fn(&str) -> Option<SecretText> + Send + Sync>;

/// Reads Secrets from manifests, files and the environment.
#[derive(Clone)]
pub struct SidecarSecrets {
    manifests: ManifestSecrets,
    folder: Option<PathBuf>,
    require_allowed_hosts: bool,
    environment: Environment,
    /// Stands for the version of every variable: they cannot change while the process runs, and
    /// may have changed when another one does. A digest of the value would reveal short ones.
    environment_version: String,
}

impl std::fmt::Debug for SidecarSecrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SidecarSecrets")
            .field("folder", &self.folder)
            .field("require_allowed_hosts", &self.require_allowed_hosts)
            .finish_non_exhaustive()
    }
}

impl SidecarSecrets {
    /// Reads from these places. `run` is drawn anew for each process.
    ///
    /// Which hosts a value may go to is said by the annotation `hookkeeper.dev/allowed-hosts` of
    /// the Secret manifest of that name, wherever the value itself comes from: a manifest without
    /// data is how files and variables get one. With `require_allowed_hosts`, a Secret without
    /// the annotation has an empty list, and so goes nowhere.
    #[must_use]
    pub fn new(
        manifests: ManifestSecrets,
        folder: Option<PathBuf>,
        require_allowed_hosts: bool,
        run: u64,
    ) -> Self {
        Self {
            manifests,
            folder,
            require_allowed_hosts,
            environment: Arc::new(|name| std::env::var(name).ok().map(SecretText::new)),
            environment_version: format!("environment-{run:016x}"),
        }
    }

    /// Takes variables from somewhere else than the process's environment, which a test cannot
    /// change safely.
    #[must_use]
    pub fn with_environment(
        mut self,
        environment: impl Fn(&str) -> Option<SecretText> + Send + Sync + 'static,
    ) -> Self {
        self.environment = Arc::new(environment);
        self
    }

    async fn find(
        &self,
        namespace: &str,
        reference: &SecretKeyReference,
    ) -> Result<SecretValue, SecretFailure> {
        let SecretKeyReference { name, key } = reference;
        if !names::is_secret_name(name) || !names::is_secret_key(key) {
            return Err(SecretFailure::NotFound);
        }
        let mut manifest = self.manifests.get(&ObjectKey::new(namespace, name));
        let allowed_hosts = manifest
            .as_mut()
            .and_then(|manifest| manifest.allowed_hosts.take())
            .or_else(|| self.require_allowed_hosts.then(Vec::new));
        let value = |text, version| SecretValue { text, version, allowed_hosts: allowed_hosts.clone() };
        if let Some(mut manifest) = manifest
            && let Some(text) = manifest.data.remove(key)
        {
            return Ok(value(text, manifest.version));
        }
        if let Some(folder) = &self.folder {
            let candidates = [folder.join(name).join(key), folder.join(format!("{name}.{key}"))];
            let found = tokio::task::spawn_blocking(move || {
                candidates.into_iter().find_map(|path| read_file(&path).transpose()).transpose()
            })
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the file could not be read")))
            .map_err(|error| SecretFailure::Unavailable(error.to_string()))?;
            if let Some((text, version)) = found {
                return Ok(value(text, version));
            }
        }
        if let Some(text) = (self.environment)(&names::variable(name, key)) {
            return Ok(value(text, self.environment_version.clone()));
        }
        Err(SecretFailure::NotFound)
    }
}

impl Secrets for SidecarSecrets {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        reference: &'a SecretKeyReference,
    ) -> BoxFuture<'a, Result<SecretValue, SecretFailure>> {
        Box::pin(self.find(namespace, reference))
    }
}

/// A file's value and identity; `None` when there is no such file.
fn read_file(path: &std::path::Path) -> io::Result<Option<(SecretText, String)>> {
    let absent =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    // Opening anything but a file may wait for ever.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    file.take(VALUE_LIMIT + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > VALUE_LIMIT {
        return Err(io::Error::other("its file is larger than 1 MiB"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| io::Error::other("its file is no UTF-8 text"))?;
    let text = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text);
    Ok(Some((SecretText::from(text), stamp(&metadata))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(name: &str, key: &str) -> SecretKeyReference {
        SecretKeyReference { name: name.to_owned(), key: key.to_owned() }
    }

    fn manifest(value: &str, allowed_hosts: Option<Vec<String>>) -> SecretManifest {
        SecretManifest {
            data: BTreeMap::from([("token".to_owned(), value.into())]),
            allowed_hosts,
            version: "file".to_owned(),
        }
    }

    async fn text(secrets: &SidecarSecrets, name: &str, key: &str) -> Result<String, SecretFailure> {
        let value = secrets.read("default", &reference(name, key)).await?;
        Ok(value.text.expose().to_owned())
    }

    #[tokio::test]
    async fn the_first_place_that_has_the_key_wins() {
        let folder = tempfile::tempdir().unwrap();
        let manifests = ManifestSecrets::default();
        let secrets = SidecarSecrets::new(manifests.clone(), Some(folder.path().to_owned()), false, 1)
            .with_environment(|name| {
                (name == "HOOKKEEPER_SECRET_GUPY_API_TOKEN").then(|| "environment".into())
            });
        let read = || text(&secrets, "gupy-api", "token");
        assert_eq!(read().await.as_deref(), Ok("environment"));
        fs::write(folder.path().join("gupy-api.token"), "flat").unwrap();
        assert_eq!(read().await.as_deref(), Ok("flat"));
        fs::create_dir(folder.path().join("gupy-api")).unwrap();
        assert_eq!(read().await.as_deref(), Ok("flat"));
        fs::write(folder.path().join("gupy-api/token"), "nested").unwrap();
        assert_eq!(read().await.as_deref(), Ok("nested"));
        let key = ObjectKey::new("default", "gupy-api");
        manifests.replace(BTreeMap::from([(key, manifest("manifest", None))]));
        assert_eq!(read().await.as_deref(), Ok("manifest"));
        // A manifest of the name that lacks the key hides nothing.
        fs::write(folder.path().join("gupy-api/other"), "nested").unwrap();
        assert_eq!(text(&secrets, "gupy-api", "other").await.as_deref(), Ok("nested"));
        assert_eq!(text(&secrets, "gupy-api", "absent").await, Err(SecretFailure::NotFound));
    }

    #[tokio::test]
    async fn manifests_belong_to_their_namespace() {
        let manifests = ManifestSecrets::default();
        let key = ObjectKey::new("hr", "gupy-api");
        manifests.replace(BTreeMap::from([(key, manifest("x", None))]));
        let secrets = SidecarSecrets::new(manifests, None, false, 1).with_environment(|_| None);
        let reference = reference("gupy-api", "token");
        assert!(secrets.read("hr", &reference).await.is_ok());
        assert_eq!(secrets.read("default", &reference).await.unwrap_err(), SecretFailure::NotFound);
    }

    #[tokio::test]
    async fn exactly_one_line_break_at_the_end_goes() {
        let folder = tempfile::tempdir().unwrap();
        let secrets =
            SidecarSecrets::new(ManifestSecrets::default(), Some(folder.path().to_owned()), false, 1);
        for (content, value) in [
            ("x", "x"),
            ("x\n", "x"),
            ("x\r\n", "x"),
            ("x\n\n", "x\n"),
            (" x \n", " x "),
            ("x\r", "x\r"),
            ("\n", ""),
        ] {
            fs::write(folder.path().join("a.token"), content).unwrap();
            assert_eq!(text(&secrets, "a", "token").await.as_deref(), Ok(value));
        }
    }

    #[tokio::test]
    async fn the_version_follows_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let secrets =
            SidecarSecrets::new(ManifestSecrets::default(), Some(folder.path().to_owned()), false, 1)
                .with_environment(|_| Some("x".into()));
        let version = async |name: &str| {
            let value = secrets.read("default", &reference(name, "token")).await;
            value.unwrap().version
        };
        fs::write(folder.path().join("a.token"), "one").unwrap();
        let first = version("a").await;
        assert_eq!(first, version("a").await);
        fs::write(folder.path().join("a.token"), "three").unwrap();
        assert_ne!(first, version("a").await);
        assert_eq!(version("b").await, "environment-0000000000000001");
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_told_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let secrets =
            SidecarSecrets::new(ManifestSecrets::default(), Some(folder.path().to_owned()), false, 1);
        fs::write(folder.path().join("binary.token"), b"canary\xff").unwrap();
        fs::write(folder.path().join("large.token"), "canary".repeat(200_000)).unwrap();
        for name in ["binary", "large"] {
            let failure = text(&secrets, name, "token").await.unwrap_err();
            assert!(matches!(failure, SecretFailure::Unavailable(_)));
            assert!(!failure.to_string().contains("canary"), "{failure}");
        }
    }

    #[tokio::test]
    async fn no_name_leads_out_of_the_folder() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("secrets");
        fs::create_dir_all(folder.join("a")).unwrap();
        fs::write(parent.path().join("token"), "outside").unwrap();
        fs::write(parent.path().join("outside.token"), "outside").unwrap();
        let secrets = SidecarSecrets::new(ManifestSecrets::default(), Some(folder), false, 1);
        for (name, key) in [
            ("..", "token"),
            ("../outside", "token"),
            ("a", "../../token"),
            ("a/..", "../token"),
            ("", "/etc/hostname"),
        ] {
            assert_eq!(text(&secrets, name, key).await, Err(SecretFailure::NotFound), "{name} {key}");
        }
    }

    #[tokio::test]
    async fn allowed_hosts_come_from_the_manifest_of_the_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.token"), "x").unwrap();
        fs::write(folder.path().join("b.token"), "x").unwrap();
        let manifests = ManifestSecrets::default();
        let hosts = vec!["api.gupy.io".to_owned()];
        let mut only_hosts = manifest("", Some(hosts.clone()));
        only_hosts.data.clear();
        manifests.replace(BTreeMap::from([(ObjectKey::new("default", "a"), only_hosts)]));
        for (required, of_others) in [(false, None), (true, Some(Vec::new()))] {
            let folder = Some(folder.path().to_owned());
            let secrets = SidecarSecrets::new(manifests.clone(), folder, required, 1);
            let allowed = async |name: &str| {
                let value = secrets.read("default", &reference(name, "token")).await;
                value.unwrap().allowed_hosts
            };
            assert_eq!(allowed("a").await, Some(hosts.clone()));
            assert_eq!(allowed("b").await, of_others);
        }
    }
}
