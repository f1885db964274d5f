//! Writes manifests and secrets that run against a sandbox.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Client, Error};
use crate::secret::SecretText;

/// Actions that Gupy documents; one webhook takes one.
const ACTIONS: [&str; 16] = [
    "application.completed",
    "application.moved",
    "application.created",
    "candidate.hired",
    "job.published",
    "job.status-changed",
    "job.changed",
    "job-new-recommendation",
    "application.assigned",
    "application.evaluation",
    "application.pre-hiring-information-filled",
    "pre-employee.moved",
    "pre-employee-admission-concluded",
    "admission-automatic-routing-process-created",
    "admission-automatic-routing-objection-created",
    "admission-automatic-routing-confirmation",
];

/// What the files need to know of a sandbox.
#[derive(Clone, Debug)]
pub struct SandboxInfo {
    /// Its base URL, without a trailing slash.
    pub url: String,
    /// The bearer token of its provider API.
    pub management_token: SecretText,
    /// The client that asks for tokens.
    pub client: Client,
}

/// What to write.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// How many subscriptions, all with one token source.
    pub subscriptions: usize,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The files, in the order of their names.
    pub files: Vec<PathBuf>,
    /// Where the state file goes: beside the folder, not in it, for everything in it is read as a
    /// manifest.
    pub state_file: PathBuf,
    /// The command that runs them.
    pub sidecar_command: String,
}

/// Writes the files into `folder`, which is made if need be. Files of the same names are replaced,
/// others are left alone. The one with the secrets is readable by its owner only.
///
/// # Errors
/// When a file cannot be written.
pub fn write_manifests(folder: &Path, info: &SandboxInfo, options: &WriteOptions) -> Result<Written, Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| Error::Write { path: folder.to_owned(), source })?;
    let contents = [
        ("00-secrets.yaml", 0o600, secrets(info)),
        ("10-provider.yaml", 0o644, provider(info)),
        ("20-token-source.yaml", 0o644, token_source(info)),
        ("30-subscriptions.yaml", 0o644, subscriptions(options)),
    ];
    let mut files = Vec::new();
    for (name, mode, content) in contents {
        let path = folder.join(name);
        write(&path, mode, &content).map_err(|source| Error::Write { path: path.clone(), source })?;
        files.push(path);
    }
    let state_file = state_file(folder);
    Ok(Written {
        files,
        sidecar_command: format!(
            "hookkeeper sidecar --manifests {} --state {} --allow-destination {}",
            shell(folder),
            shell(&state_file),
            info.url,
        ),
        state_file,
    })
}

/// `FOLDER-state.json`: a name of its own, so that two folders side by side never share a state.
fn state_file(folder: &Path) -> PathBuf {
    let absolute = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    match (folder.file_name(), absolute.file_name()) {
        (Some(name), _) => {
            let name = format!("{}-state.json", name.to_string_lossy());
            folder.with_file_name(name)
        }
        (None, Some(name)) => {
            let name = format!("{}-state.json", name.to_string_lossy());
            absolute.with_file_name(name)
        }
        (None, None) => PathBuf::from("hookkeeper-state.json"),
    }
}

/// Replaces the file by one that had its mode from the start: a mode given to an existing file
/// comes after somebody may have opened it.
fn write(path: &Path, mode: u32, content: &str) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content.as_bytes())?;
    fs::rename(&temporary, path)
}

/// A text as a YAML scalar: every JSON string is one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A path as one word of a POSIX shell.
fn shell(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,=@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn secrets(info: &SandboxInfo) -> String {
    format!(
        r"# Trial credentials: they open this sandbox and nothing else.
apiVersion: v1
kind: Secret
metadata: {{name: gupy-api}}
stringData:
  token: {token}
---
apiVersion: v1
kind: Secret
metadata: {{name: integration-client}}
stringData:
  secret: {secret}
",
        token = quoted(info.management_token.expose()),
        secret = quoted(info.client.secret.expose()),
    )
}

fn provider(info: &SandboxInfo) -> String {
    format!(
        r"apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {{name: gupy}}
spec:
  preset: gupy
  # Without this line the preset's own: Gupy.
  baseUrl: {url}
  auth:
    bearer: {{secretKeyRef: {{name: gupy-api, key: token}}}}
",
        url = quoted(&info.url),
    )
}

fn token_source(info: &SandboxInfo) -> String {
    let revokes = if info.client.revokes_previous { "  revokesPrevious: true\n" } else { "" };
    format!(
        r"apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {{name: integration}}
spec:
{revokes}  oauth2:
    tokenUrl: {url}
    clientId: {{value: {id}}}
    clientSecret: {{secretKeyRef: {{name: integration-client, key: secret}}}}
",
        url = quoted(&format!("{}/oauth/token", info.url)),
        id = quoted(&info.client.id),
    )
}

fn subscriptions(options: &WriteOptions) -> String {
    let documents: Vec<String> = (0..options.subscriptions).map(subscription).collect();
    documents.join("---\n")
}

fn subscription(index: usize) -> String {
    let action = ACTIONS[index % ACTIONS.len()];
    let mut name = action.replace('.', "-");
    let mut url = "https://integrations.example.com/gupy".to_owned();
    // Beyond the known actions another URL, for the same action and URL would be one webhook.
    if let round @ 1.. = index / ACTIONS.len() {
        name = format!("{name}-{}", round + 1);
        url = format!("{url}/{}", round + 1);
    }
    format!(
        r"apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: {name}}}
spec:
  providerRef: {{name: gupy}}
  action: {action}
  postbackUrl: {url}
  clientHeaders:
    - {{name: token, valueFrom: {{token: {{}}}}}}
  tokenSourceRef: {{name: integration}}
"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use serde::de::DeserializeOwned;

    use super::*;
    use crate::api::{TokenSource, WebhookProvider, WebhookSubscription};

    fn info() -> SandboxInfo {
        SandboxInfo {
            url: "http://127.0.0.1:8480".into(),
            management_token: "a: \"b\" # c".into(),
            client: Client {
                id: "hr-integration".into(),
                secret: "s".into(),
                token_life: Duration::from_secs(60),
                revokes_previous: true,
            },
        }
    }

    fn documents<T: DeserializeOwned>(path: &Path) -> Vec<T> {
        serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap()
    }

    fn written(subscriptions: usize) -> (tempfile::TempDir, Written) {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("trial");
        let options = WriteOptions { subscriptions };
        let written = write_manifests(&folder, &info(), &options).unwrap();
        (parent, written)
    }

    #[test]
    fn the_files_are_what_the_api_reads() {
        let (_folder, written) = written(20);
        let secrets: Vec<serde_json::Value> = documents(&written.files[0]);
        assert_eq!(secrets[0]["stringData"]["token"], "a: \"b\" # c");
        assert_eq!(secrets[1]["stringData"]["secret"], "s");
        let providers: Vec<WebhookProvider> = documents(&written.files[1]);
        assert_eq!(providers.len(), 1);
        let sources: Vec<TokenSource> = documents(&written.files[2]);
        assert_eq!(sources.len(), 1);
        let subscriptions: Vec<WebhookSubscription> = documents(&written.files[3]);
        let names: BTreeSet<_> = subscriptions.iter().map(|s| &s.metadata.name).collect();
        let targets: BTreeSet<_> =
            subscriptions.iter().map(|s| (&s.spec.action, &s.spec.postback_url)).collect();
        assert_eq!((names.len(), targets.len()), (20, 20));
    }

    #[test]
    fn secrets_are_for_the_owner_only_also_when_written_again() {
        let (folder, written) = written(1);
        let path = &written.files[0];
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        let options = WriteOptions { subscriptions: 1 };
        write_manifests(&folder.path().join("trial"), &info(), &options).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 4);
    }

    #[test]
    fn the_state_lies_beside_the_folder() {
        let (folder, written) = written(1);
        assert_eq!(written.state_file, folder.path().join("trial-state.json"));
        assert!(written.sidecar_command.ends_with("--allow-destination http://127.0.0.1:8480"));
        assert_eq!(state_file(Path::new("a/b/")), Path::new("a/b-state.json"));
        assert!(state_file(Path::new(".")).is_absolute());
    }

    #[test]
    fn paths_are_one_word_of_a_shell() {
        assert_eq!(shell(Path::new("/a/b-c")), "/a/b-c");
        assert_eq!(shell(Path::new("it's $HOME")), r"'it'\''s $HOME'");
    }
}
