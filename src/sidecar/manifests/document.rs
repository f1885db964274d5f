//! A file's documents in the words the decisions are made in.

use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};

use crate::api::manifest::{self, DocumentError, MOST_PROBLEMS, Manifest};
use crate::api::{
    ALLOWED_HOSTS_ANNOTATION, FORCE_ORPHAN_ANNOTATION, Identity, Kind, ObjectKey, ROTATE_ANNOTATION,
    SecretKeyReference, TokenPlace, TokenSourceSpec, WebhookProviderSpec, WebhookReceiverSpec,
    WebhookSubscriptionSpec, crd, secret_references, split_hosts,
};
use crate::engine::ports::Invalid;
use crate::gate::receiver::Receiver;
use crate::sidecar::manifest_secrets::SecretManifest;

/// What a file's text declares.
#[derive(Debug, Default)]
pub struct FileContent {
    /// Each document that says which object it is about.
    pub items: Vec<Item>,
    /// Whether there is a document that cannot be read far enough to know its object.
    pub hides: bool,
    /// What is wrong with documents that are no [`Item`], without their content.
    pub problems: Vec<String>,
    /// How many documents there are.
    pub documents: usize,
}

/// A document about a known object.
#[derive(Debug)]
pub enum Item {
    /// One of the four kinds.
    Object {
        /// Its kind.
        kind: Kind,
        /// Namespace and name.
        key: ObjectKey,
        /// What of its annotations matters.
        annotations: Annotations,
        /// Digest of what it asks for.
        digest: String,
        /// What it asks for, or the rule that breaks.
        spec: Result<Spec, Invalid>,
    },
    /// A Secret; `None` when it cannot be used.
    Secret {
        /// Namespace and name.
        key: ObjectKey,
        /// Its content.
        secret: Option<SecretManifest>,
    },
}

/// What of an object's annotations matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Value of [`ROTATE_ANNOTATION`].
    pub rotate_requested: Option<String>,
    /// Whether [`FORCE_ORPHAN_ANNOTATION`] is `"true"`.
    pub force_orphan: bool,
}

/// A valid spec of one of the four kinds.
#[derive(Clone, Debug)]
pub enum Spec {
    /// Of a `WebhookProvider`.
    Provider(Box<WebhookProviderSpec>),
    /// Of a `TokenSource`.
    TokenSource(Box<TokenSourceSpec>),
    /// Of a `WebhookSubscription`.
    Subscription(Box<WebhookSubscriptionSpec>),
    /// Of a `WebhookReceiver`.
    Receiver(Box<WebhookReceiverSpec>),
}

impl FileContent {
    /// The keys of Secrets that its objects name.
    pub(super) fn secret_references(&self) -> Vec<SecretKeyReference> {
        let specs = self.items.iter().filter_map(|item| match item {
            Item::Object { spec: Ok(spec), .. } => Some(spec),
            _ => None,
        });
        specs.flat_map(Spec::secret_references).collect()
    }
}

impl Spec {
    /// The spec as it is remembered.
    pub(super) fn to_json(&self) -> Result<Box<RawValue>, serde_json::Error> {
        match self {
            Self::Provider(spec) => to_raw_value(spec),
            Self::TokenSource(spec) => to_raw_value(spec),
            Self::Subscription(spec) => to_raw_value(spec),
            Self::Receiver(spec) => to_raw_value(spec),
        }
    }

    /// The keys of Secrets that it names.
    pub(in crate::sidecar) fn secret_references(&self) -> Vec<SecretKeyReference> {
        match self {
            Self::Provider(spec) => secret_references(spec),
            Self::TokenSource(spec) => secret_references(spec),
            Self::Subscription(spec) => secret_references(spec),
            Self::Receiver(spec) => secret_references(spec),
        }
    }

    /// A spec that was remembered.
    pub(super) fn from_json(kind: Kind, json: &RawValue) -> Result<Self, serde_json::Error> {
        let text = json.get();
        Ok(match kind {
            Kind::WebhookProvider => Self::Provider(serde_json::from_str(text)?),
            Kind::TokenSource => Self::TokenSource(serde_json::from_str(text)?),
            Kind::WebhookSubscription => Self::Subscription(serde_json::from_str(text)?),
            Kind::WebhookReceiver => Self::Receiver(serde_json::from_str(text)?),
        })
    }
}

/// Understands a file's text; `version` is the file's identity, which its Secrets take on.
#[must_use]
pub fn understand(text: &str, version: &str) -> FileContent {
    let mut content = FileContent::default();
    for document in manifest::read(text) {
        content.documents += 1;
        match document {
            Ok(document) => content.items.extend(item(document, version)),
            Err(error) => broken(error, &mut content),
        }
    }
    let more = content.problems.len().saturating_sub(MOST_PROBLEMS);
    if more > 0 {
        content.problems.truncate(MOST_PROBLEMS);
        content.problems.push(format!("and {more} more; `hookkeeper check` counts them"));
    }
    content
}

/// `None` for kinds that are no concern of ours.
fn item(document: manifest::Document, version: &str) -> Option<Item> {
    let key = document.key();
    let annotation = |name: &str| document.annotations.get(name).cloned();
    let (kind, spec) = match document.manifest {
        Manifest::WebhookProvider(spec) => (Kind::WebhookProvider, Spec::Provider(spec)),
        Manifest::TokenSource(spec) => (Kind::TokenSource, Spec::TokenSource(spec)),
        Manifest::WebhookSubscription(spec) => (Kind::WebhookSubscription, Spec::Subscription(spec)),
        Manifest::WebhookReceiver(spec) => (Kind::WebhookReceiver, Spec::Receiver(spec)),
        Manifest::Secret { data, .. } => {
            let allowed_hosts = annotation(ALLOWED_HOSTS_ANNOTATION);
            let secret = SecretManifest {
                data,
                allowed_hosts: allowed_hosts.map(|hosts| split_hosts(&hosts)),
                version: version.to_owned(),
            };
            return Some(Item::Secret { key, secret: Some(secret) });
        }
        Manifest::Other { .. } => return None,
    };
    // An object that does not fit its preset is one that breaks a rule: its version before stays in force.
    let judged = match &spec {
        Spec::Receiver(spec) => check_receiver(&key, spec),
        _ => Ok(()),
    };
    let (digest, spec) = match judged {
        Ok(()) => (document.spec_digest, Ok(spec)),
        Err(problem) => (digest_of_invalid(&problem), Err(problem)),
    };
    Some(Item::Object {
        kind,
        key,
        annotations: Annotations {
            rotate_requested: annotation(ROTATE_ANNOTATION),
            force_orphan: annotation(FORCE_ORPHAN_ANNOTATION).as_deref() == Some("true"),
        },
        digest,
        spec,
    })
}

/// What only the object and its preset together show. Which header the token stands in, a subscription may
/// say: it is not looked for here.
fn check_receiver(key: &ObjectKey, spec: &WebhookReceiverSpec) -> Result<(), Invalid> {
    let mut spec = spec.clone();
    if spec.verification.token.as_ref().is_some_and(|token| token.header.is_none()) {
        spec.reads_token_at(TokenPlace { header: "token", prefix: "" });
    }
    let problems = Receiver::of(&Identity::of_name(key.clone()), &spec).err().unwrap_or_default();
    let more = match problems.len() {
        0 | 1 => String::new(),
        many => format!(" (and {} more; `hookkeeper check` lists them)", many - 1),
    };
    match problems.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(Invalid { field: first.field, problem: first.problem + &more }),
    }
}

fn broken(error: DocumentError, content: &mut FileContent) {
    let name = error.kind.as_deref();
    let kind = crd::KINDS.into_iter().find(|kind| name == Some(&kind.to_string()));
    match (kind, &error.key) {
        (Some(kind), Some(key)) => {
            let key = key.clone();
            let problem = invalid(error);
            content.items.push(Item::Object {
                kind,
                key,
                annotations: Annotations::default(),
                digest: digest_of_invalid(&problem),
                spec: Err(problem),
            });
        }
        (None, Some(key)) if name == Some("Secret") => {
            content.items.push(Item::Secret { key: key.clone(), secret: None });
            content.problems.push(error.to_string());
        }
        _ => {
            // Of a kind that is not ours, whatever is wrong hides nothing.
            let ours = kind.is_some() || matches!(name, None | Some("Secret" | "List"));
            content.hides |= ours;
            content.problems.push(error.to_string());
        }
    }
}

/// The first rule that is broken; how many more there are.
fn invalid(error: DocumentError) -> Invalid {
    let more = error.problems.len().saturating_sub(1) + error.more;
    let first = error.problems.into_iter().next();
    let (field, problem) = first.map_or_else(Default::default, |first| (first.field, first.problem));
    Invalid {
        field,
        problem: match more {
            0 => problem,
            more => format!("{problem} (and {more} more; `hookkeeper check` lists them)"),
        },
    }
}

/// Differs from that of every valid spec, so that the way back is a new generation too.
pub(super) fn digest_of_invalid(problem: &Invalid) -> String {
    Sha256::digest(format!("invalid {problem}")).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_take_the_files_identity_and_their_hosts() {
        let content = understand(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\n  annotations: {hookkeeper.dev/allowed-hosts: 'api.gupy.io, Auth.Example.com,'}\nstringData: {key: value}\n",
            "stamp",
        );
        let [Item::Secret { key, secret: Some(secret) }] = content.items.as_slice() else {
            panic!("{content:?}");
        };
        assert_eq!(*key, ObjectKey::new("default", "a"));
        assert_eq!(secret.version, "stamp");
        assert_eq!(secret.data["key"].expose(), "value");
        let hosts = ["api.gupy.io", "auth.example.com"].map(str::to_owned);
        assert_eq!(secret.allowed_hosts.as_deref(), Some(&hosts[..]));
    }

    #[test]
    fn what_says_who_it_is_hides_nothing() {
        let content = understand(
            "apiVersion: hookkeeper.dev/v1alpha1\nkind: WebhookProvider\nmetadata: {name: gupy}\nspec: {}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {key: '%%'}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: 7}\n",
            "",
        );
        assert!(!content.hides);
        assert!(matches!(
            content.items.as_slice(),
            [Item::Object { spec: Err(_), .. }, Item::Secret { secret: None, .. }]
        ));
    }

    #[test]
    fn the_first_problems_of_a_file_are_told_and_the_others_counted() {
        let content = understand(&"---\na\n".repeat(1_000), "");
        assert_eq!((content.documents, content.problems.len()), (1_000, MOST_PROBLEMS + 1));
        assert_eq!(content.problems[MOST_PROBLEMS], "and 968 more; `hookkeeper check` counts them");
        let content = understand(&"---\na\n".repeat(1_000_000), "");
        assert!(content.hides);
        assert_eq!(
            content.problems,
            ["document 1: there are more than 20000 documents in the file, so none of them is read"]
        );
    }

    #[test]
    fn what_does_not_say_who_it_is_hides_something() {
        for text in [
            "kind: [",
            "apiVersion: hookkeeper.dev/v1alpha1\nkind: TokenSource\nmetadata: {}\n",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: ../a}\n",
            "just text",
        ] {
            let content = understand(text, "");
            assert!(content.hides, "{text}");
            assert!(!content.problems.is_empty(), "{text}");
        }
    }
}
