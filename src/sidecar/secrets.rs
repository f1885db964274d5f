//! Secrets without a cluster.
//!
//! A value is looked for in this order, and the first place that has the key wins:
//! 1. Secret manifests in the folder of manifests;
//! 2. `DIR/<secret>/<key>` below `--secrets-dir`, as mounted Secrets are laid out;
//! 3. `DIR/<secret>.<key>`, as compose secrets and systemd credentials are laid out;
//! 4. the variable `HOOKKEEPER_SECRET_<SECRET>_<KEY>`: letters in upper case, digits as they are,
//!    everything else `_`.
//!
//! Files and variables know no namespaces: whoever runs the process gives them to all of them. So
//! where such a value may go is said by the annotations of all Secret manifests that may be meant by
//! its name, in whichever namespace they are and under whichever of two names that are spelled alike:
//! nobody gets it without them by another way to read it. A folder that a `TokenSource` publishes in
//! is another matter: it belongs to the source's namespace, and says itself where its tokens may go.
//! Of a file, one line break at its end is no part of the value, because editors and `echo` put it
//! there. Files are read at the moment of use, so a new value needs no restart.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::collisions::Place;
use super::manifest_secrets::ManifestSecrets;
use super::stamp::stamp;
use super::{names, publish};
use crate::api::{ObjectKey, SecretKeyReference};
use crate::engine::ports::{SecretFailure, SecretValue, Secrets};
use crate::secret::SecretText;
use crate::secret::bounds::names_host;

/// Largest value, in bytes: what an API server takes for a whole Secret.
pub const VALUE_LIMIT: u64 = 1024 * 1024;

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
    /// Reads from these places. `run` is drawn for each process.
    ///
    /// Which hosts a value may go to is said by the annotation `hookkeeper.dev/allowed-hosts` of
    /// the Secret manifest that holds it. A manifest without data is how files and variables get one:
    /// all hosts that are sent such a value are named by each manifest that may be meant. With `require_allowed_hosts`, a Secret without
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
        if let Some(manifest) = &mut manifest
            && let Some(text) = manifest.data.remove(key)
        {
            let hosts = manifest.allowed_hosts.take().into_iter().collect();
            return Ok(self.value(text, std::mem::take(&mut manifest.version), hosts));
        }
        if let Some(folder) = &self.folder {
            let nested = folder.join(name);
            let (namespace, of_key) = (namespace.to_owned(), key.clone());
            let flat = names::flat_file(name, key);
            let flat_path = folder.join(&flat);
            let found = tokio::task::spawn_blocking(move || {
                Ok(match read_nested(&nested, &namespace, &of_key)? {
                    Some((found, hosts)) => Some((found, true, hosts)),
                    None => read_file(&flat_path)?.map(|found| (found, false, None)),
                })
            })
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the file could not be read")))
            .map_err(|error| SecretFailure::Unavailable(error.to_string()))?;
            if let Some(((text, version), is_nested, published)) = found {
                let is_read_there = |found: &SecretKeyReference| {
                    let other = names::flat_file(&found.name, &found.key);
                    !is_nested && other.eq_ignore_ascii_case(&flat)
                };
                let may_be_there = |secret: &str| !is_nested && names::is_flat_file_of(secret, &flat);
                let mut hosts = self.manifests.hosts_of(name, is_read_there, may_be_there);
                hosts.extend(published);
                return Ok(self.value(text, version, hosts));
            }
        }
        let variable = names::variable(name, key);
        if let Some(text) = (self.environment)(&variable) {
            let hosts = self.manifests.hosts_of(
                name,
                |found| names::variable(&found.name, &found.key) == variable,
                |secret| names::is_variable_of(secret, &variable),
            );
            return Ok(self.value(text, self.environment_version.clone(), hosts));
        }
        Err(SecretFailure::NotFound)
    }

    /// A value that may go where all these lists allow.
    fn value(&self, text: SecretText, version: String, lists: Vec<Vec<String>>) -> SecretValue {
        let mut lists = lists.into_iter();
        let first = lists.next().or_else(|| self.require_allowed_hosts.then(Vec::new));
        let all = first.map(|first| {
            lists.fold(first, |mut hosts, other| {
                hosts.retain(|host| names_host(&other, host));
                hosts
            })
        });
        SecretValue::new(text, version, all)
    }

    /// Whether something is found there.
    pub(super) fn has(&self, place: &Place) -> bool {
        match place {
            Place::Variable(name) => (self.environment)(name).is_some(),
            Place::File(name) => self.folder.as_ref().is_some_and(|folder| {
                let entries = fs::read_dir(folder).into_iter().flatten().flatten();
                entries.into_iter().any(|entry| {
                    let file = entry.file_name();
                    file.to_str().is_some_and(|file| file.eq_ignore_ascii_case(name))
                        && entry.path().is_file()
                })
            }),
        }
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

/// A value with its identity.
type Found = (SecretText, String);

/// What a Secret's folder holds, and where it may go if a `TokenSource` publishes there; nothing where
/// that source is in another namespace.
fn read_nested(
    folder: &std::path::Path,
    namespace: &str,
    key: &str,
) -> io::Result<Option<(Found, Option<Vec<String>>)>> {
    let hosts = match publish::owner(folder)? {
        None => None,
        Some(owner) if owner.split_once('/').is_some_and(|(own, _)| own == namespace) => {
            publish::allowed_hosts(folder)?
        }
        Some(_) => return Ok(None),
    };
    Ok(read_file(&folder.join(key))?.map(|found| (found, hosts)))
}

/// A file's value and identity; `None` when there is no such file.
fn read_file(path: &std::path::Path) -> io::Result<Option<Found>> {
    let absent =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    // Opening anything but a file may wait forever.
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::ports::{Publish, Published};
    use crate::secret::bounds::Bounds;
    use crate::sidecar::manifest_secrets::SecretManifest;
    use crate::sidecar::publish::PublishFolder;

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
        Ok(value.open(name, &mut Bounds::default()).expose().to_owned())
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

    /// The hosts of what is read in a namespace under a name.
    async fn hosts(secrets: &SidecarSecrets, namespace: &str, name: &str, key: &str) -> Option<Vec<String>> {
        secrets.read(namespace, &reference(name, key)).await.unwrap().allowed_hosts
    }

    fn annotations(of: &[(&str, &str, &[&str])]) -> ManifestSecrets {
        let manifests = ManifestSecrets::default();
        let annotated = of.iter().map(|(namespace, name, hosts)| {
            let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
            let mut annotated = manifest("", Some(hosts));
            annotated.data.clear();
            (ObjectKey::new(namespace, name), annotated)
        });
        manifests.replace(annotated.collect());
        manifests
    }

    #[tokio::test]
    async fn a_file_is_as_confined_under_another_namespace_and_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("nested")).unwrap();
        fs::write(folder.path().join("nested/token"), "x").unwrap();
        fs::write(folder.path().join("gupy.api.token"), "x").unwrap();
        let manifests = annotations(&[
            ("hr", "nested", &["api.gupy.io", "b.example"]),
            ("hr", "gupy.api", &["api.gupy.io", "b.example"]),
            ("hr", "gupy-api", &["api.gupy.io", "b.example"]),
        ]);
        let secrets = SidecarSecrets::new(manifests, Some(folder.path().to_owned()), false, 1)
            .with_environment(|name| (name == "HOOKKEEPER_SECRET_GUPY_API_TOKEN").then(|| "x".into()));
        let confined = Some(vec!["api.gupy.io".to_owned(), "b.example".to_owned()]);
        for namespace in ["hr", "hostile"] {
            for (name, key) in [
                ("nested", "token"),
                ("gupy.api", "token"),
                ("gupy", "api.token"),
                ("gupy-api", "token"),
                ("gupy", "api-token"),
                ("gupy", "api_token"),
            ] {
                assert_eq!(hosts(&secrets, namespace, name, key).await, confined, "{namespace} {name} {key}");
            }
        }
        // A name that is like the beginning of another one, and is read from elsewhere, says nothing.
        let manifests = annotations(&[
            ("hr", "gupy", &["auth.example.com"]),
            ("hr", "gupy-api", &["api.gupy.io", "b.example"]),
        ]);
        manifests.refer("a.yaml", vec![reference("gupy", "secret"), reference("gupy-api", "token")]);
        let secrets =
            SidecarSecrets::new(manifests.clone(), None, false, 1).with_environment(|_| Some("x".into()));
        assert_eq!(hosts(&secrets, "hr", "gupy-api", "token").await, confined);
        manifests.refer("b.yaml", vec![reference("gupy", "api-token")]);
        assert_eq!(hosts(&secrets, "hr", "gupy-api", "token").await, Some(Vec::new()));
        manifests.retain_files(|file| file == "a.yaml");
        assert_eq!(hosts(&secrets, "hr", "gupy-api", "token").await, confined);
        // Whoever says something else about the same file loosens nothing.
        let manifests = annotations(&[
            ("hr", "nested", &["api.gupy.io", "b.example"]),
            ("hostile", "nested", &["evil.example", "b.example"]),
        ]);
        let secrets = SidecarSecrets::new(manifests, Some(folder.path().to_owned()), false, 1);
        assert_eq!(hosts(&secrets, "hostile", "nested", "token").await, Some(vec!["b.example".to_owned()]));
    }

    #[tokio::test]
    async fn a_published_token_is_as_confined_as_its_source_and_belongs_to_its_namespace() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = |allowed_hosts| Published {
            current: "x".into(),
            previous: None,
            previous_fingerprint: None,
            fingerprint: "f".to_owned(),
            minted: chrono::DateTime::UNIX_EPOCH,
            expires: None,
            allowed_hosts,
        };
        let publish = PublishFolder::new(Some(folder.path().to_owned()));
        let secrets =
            SidecarSecrets::new(ManifestSecrets::default(), Some(folder.path().to_owned()), false, 1);
        let source = ObjectKey::new("hr", "integration");
        for allowed in [Some(vec!["api.gupy.io".to_owned()]), Some(Vec::new()), None] {
            publish.write(&source, "tokens", &tokens(allowed.clone())).await.unwrap();
            assert_eq!(publish.read(&source, "tokens").await, Ok(Some(tokens(allowed.clone()))));
            assert_eq!(hosts(&secrets, "hr", "tokens", "current").await, allowed);
        }
        let foreign = secrets.read("hostile", &reference("tokens", "current")).await;
        assert_eq!(foreign.unwrap_err(), SecretFailure::NotFound);
    }
}
