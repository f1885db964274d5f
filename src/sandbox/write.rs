//! Writes manifests and secrets that run against a sandbox.

mod info;
mod receivers;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use url::Url;

pub use info::SandboxInfo;
pub use receivers::trial_platforms;

use super::Error;
use info::quoted;

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

/// Where subscriptions send their deliveries to, on paper.
const POSTBACK_HOST: &str = "integrations.example.com";
/// Where the gate takes in what applications wait for.
const EXPECT_LISTEN: &str = "127.0.0.1:8093";

/// What to write.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// How many subscriptions, all with one token source.
    pub subscriptions: usize,
    /// Write receivers too, for a gate at this base URL that hands on to the sandbox's application.
    pub gate: Option<Url>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The files, in the order of their names.
    pub files: Vec<PathBuf>,
    /// Where the state file goes: beside the folder, not in it, for everything in it is read as a
    /// manifest.
    pub state_file: PathBuf,
    /// The folder for what a gate keeps, where there is one.
    pub data: Option<PathBuf>,
    /// The command that runs them.
    pub sidecar_command: String,
}

/// Writes the files into `folder`, which is made if need be, and the folder of data beside it. Files of the
/// same names are replaced, others are left alone. The one with the secrets is readable by its owner only.
///
/// # Errors
/// When a file cannot be written.
pub fn write_manifests(folder: &Path, info: &SandboxInfo, options: &WriteOptions) -> Result<Written, Error> {
    make(folder)?;
    let mut contents = vec![
        ("00-secrets.yaml", 0o600, secrets(info)),
        ("10-provider.yaml", 0o644, provider(info)),
        ("20-token-source.yaml", 0o644, token_source(info, options)),
        ("30-subscriptions.yaml", 0o644, subscriptions(options)),
    ];
    if options.gate.is_some() {
        contents.push(("40-receiver-secrets.yaml", 0o600, receivers::secrets(info)));
        contents.push(("41-receivers.yaml", 0o644, receivers::receivers(info)));
    }
    let mut files = Vec::new();
    for (name, mode, content) in contents {
        let path = folder.join(name);
        write(&path, mode, &content).map_err(|source| Error::Write { path: path.clone(), source })?;
        files.push(path);
    }
    let state_file = beside(folder, "state.json");
    let mut sidecar_command = format!(
        "hookkeeper sidecar --manifests {} --state {} --allow-destination {}",
        shell(folder),
        shell(&state_file),
        info.url,
    );
    let mut data = None;
    if let Some(gate) = &options.gate {
        let folder_of_data = data.insert(beside(folder, "data"));
        // The gate makes none itself: it would be an empty one where a volume is not mounted.
        make(folder_of_data)?;
        let listen = &gate[url::Position::BeforeHost..url::Position::AfterPort];
        sidecar_command.extend([" --publish-dir ", &shell(&beside(folder, "published"))]);
        sidecar_command.extend([" --gate-listen ", listen, " --data ", &shell(folder_of_data)]);
        // The sandbox's bodies hold nothing that opens anything.
        sidecar_command.push_str(" --allow-clear-bodies");
        sidecar_command.extend([" --expect-listen ", EXPECT_LISTEN]);
    }
    Ok(Written { files, data, sidecar_command, state_file })
}

/// A folder for its owner only, if there is none of this name.
fn make(folder: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| Error::Write { path: folder.to_owned(), source })
}

/// `FOLDER-WHAT`: a name of its own, so that two folders side by side never share a state.
fn beside(folder: &Path, what: &str) -> PathBuf {
    let absolute = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    match (folder.file_name(), absolute.file_name()) {
        (Some(name), _) => folder.with_file_name(format!("{}-{what}", name.to_string_lossy())),
        (None, Some(name)) => absolute.with_file_name(format!("{}-{what}", name.to_string_lossy())),
        (None, None) => PathBuf::from(format!("hookkeeper-{what}")),
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

fn token_source(info: &SandboxInfo, options: &WriteOptions) -> String {
    // The gate asks IDUnico with it, and the subscriptions' deliveries carry it.
    let publish = if options.gate.is_some() {
        let host = Url::parse(&info.url).ok().and_then(|url| url.host_str().map(str::to_owned));
        let host = quoted(&host.unwrap_or_default());
        format!("  publishTo: {{secretName: integration-token}}\n  allowedHosts: [{host}, {POSTBACK_HOST}]\n")
    } else {
        String::new()
    };
    let revokes = if info.client.revokes_previous { "  revokesPrevious: true\n" } else { "" };
    format!(
        r"apiVersion: hookkeeper.dev/v1alpha1
kind: TokenSource
metadata: {{name: integration}}
spec:
{revokes}{publish}  oauth2:
    tokenUrl: {url}
    clientId: {{value: {id}}}
    clientSecret: {{secretKeyRef: {{name: integration-client, key: secret}}}}
",
        url = quoted(&format!("{}/oauth/token", info.url)),
        id = quoted(&info.client.id),
    )
}

fn subscriptions(options: &WriteOptions) -> String {
    let documents: Vec<String> =
        (0..options.subscriptions).map(|index| subscription(index, options)).collect();
    documents.join("---\n")
}

fn subscription(index: usize, options: &WriteOptions) -> String {
    let receiver = if options.gate.is_some() { "  receiverRef: {name: gupy}\n" } else { "" };
    let action = ACTIONS[index % ACTIONS.len()];
    let mut name = action.replace('.', "-");
    // Beyond the known actions another URL, for the same action and URL would be one webhook.
    let mut round = String::new();
    if let number @ 1.. = index / ACTIONS.len() {
        name.push_str(&format!("-{}", number + 1));
        round = format!("{}/", number + 1);
    }
    // A receiver's path is the end of the URL.
    let path = if options.gate.is_some() { "default/gupy" } else { "gupy" };
    let url = format!("https://{POSTBACK_HOST}/{round}{path}");
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
{receiver}"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use serde::de::DeserializeOwned;

    use super::super::{
        Authentication, Client, Platform, TRIAL_EXPECT_KEY, TRIAL_IDUNICO_CREDENTIALS, TRIAL_PULPO_TOKEN,
        TRIAL_QUALP_SECRET,
    };
    use super::*;
    use crate::api::{TokenSource, WebhookProvider, WebhookReceiver, WebhookSubscription};

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
            platforms: receivers::trial_platforms(),
        }
    }

    fn documents<T: DeserializeOwned>(path: &Path) -> Vec<T> {
        serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap()
    }

    fn written(subscriptions: usize, gate: Option<&str>) -> (tempfile::TempDir, Written) {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("trial");
        let options = WriteOptions { subscriptions, gate: gate.map(|url| url.parse().unwrap()) };
        let written = write_manifests(&folder, &info(), &options).unwrap();
        (parent, written)
    }

    #[test]
    fn the_files_are_what_the_api_reads() {
        let (_folder, written) = written(20, None);
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
        let (folder, written) = written(1, None);
        let path = &written.files[0];
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        let options = WriteOptions { subscriptions: 1, gate: None };
        write_manifests(&folder.path().join("trial"), &info(), &options).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 4);
    }

    #[test]
    fn the_state_lies_beside_the_folder() {
        let (folder, written) = written(1, None);
        assert_eq!(written.state_file, folder.path().join("trial-state.json"));
        assert!(written.sidecar_command.ends_with("--allow-destination http://127.0.0.1:8480"));
        assert_eq!(beside(Path::new("a/b/"), "state.json"), Path::new("a/b-state.json"));
        assert!(beside(Path::new("."), "state.json").is_absolute());
    }

    #[test]
    fn a_gate_gets_its_receivers_and_the_loop_is_closed() {
        let (folder, written) = written(2, Some("http://127.0.0.1:8090"));
        let secrets: Vec<serde_json::Value> = documents(&written.files[4]);
        let receivers: Vec<WebhookReceiver> = documents(&written.files[5]);
        let names: Vec<_> =
            receivers.iter().filter_map(|receiver| receiver.metadata.name.as_deref()).collect();
        assert_eq!(names, ["gupy", "idunico", "pulpo", "qualp"]);
        for (receiver, name) in receivers.iter().zip(names) {
            assert_eq!(receiver.spec.preset.as_deref(), Some(name));
            let url = receiver.spec.forward.url.clone();
            assert_eq!(url, Some(format!("http://127.0.0.1:8480/application/{name}")));
        }
        let basic = receivers[1].spec.verification.basic.as_ref().unwrap();
        assert_eq!(secrets[0]["metadata"]["name"], basic.secret_key_refs[0].name);
        assert_eq!(secrets[0]["stringData"][&basic.secret_key_refs[0].key], TRIAL_IDUNICO_CREDENTIALS);
        let of = |name: &str| {
            let secret = secrets.iter().find(|secret| secret["metadata"]["name"] == name);
            &secret.unwrap()["stringData"]
        };
        assert_eq!(of("pulpo-webhook")["token"], TRIAL_PULPO_TOKEN);
        assert_eq!(of("qualp-webhook")["secret"], TRIAL_QUALP_SECRET);
        let fallback = receivers[1].spec.fallback.as_ref().unwrap();
        let key = &fallback.secret_key_refs[0];
        assert_eq!(of(&key.name)[&key.key], TRIAL_EXPECT_KEY);
        assert_eq!(fallback.request.url, "http://127.0.0.1:8480/processes/v1/{id}");
        let mode = fs::metadata(&written.files[4]).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let sources: Vec<TokenSource> = documents(&written.files[2]);
        assert!(sources[0].spec.publish_to.is_some());
        assert_eq!(sources[0].spec.allowed_hosts, ["127.0.0.1", "integrations.example.com"]);
        let subscriptions: Vec<WebhookSubscription> = documents(&written.files[3]);
        assert!(subscriptions.iter().all(|s| s.spec.receiver_ref.as_ref().is_some_and(|r| r.name == "gupy")));
        let command = &written.sidecar_command;
        let data = folder.path().join("trial-data");
        assert!(data.is_dir() && written.data.as_ref() == Some(&data));
        assert!(
            command.contains(&format!(" --gate-listen 127.0.0.1:8090 --data {}", data.display())),
            "{command}"
        );
    }

    #[test]
    fn every_way_of_idunico_to_show_who_it_is_has_its_manifest() {
        let with = |authentication| {
            let mut info = info();
            let Platform::IdUnico(settings) = &mut info.platforms[0].1 else { panic!("it is the first") };
            settings.authentication = authentication;
            let receivers: Vec<WebhookReceiver> =
                serde_saphyr::from_multiple(&receivers::receivers(&info)).unwrap();
            receivers[1].spec.verification.clone()
        };
        assert!(with(Authentication::ApiKey("X-API-Key:abc".into())).api_key.is_some());
        assert!(with(Authentication::None).none.is_some());
    }

    #[test]
    fn paths_are_one_word_of_a_shell() {
        assert_eq!(shell(Path::new("/a/b-c")), "/a/b-c");
        assert_eq!(shell(Path::new("it's $HOME")), r"'it'\''s $HOME'");
    }
}
