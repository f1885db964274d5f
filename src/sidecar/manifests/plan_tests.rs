use std::fmt::Write as _;

use super::super::document::understand;
use super::super::files::FileView;
use super::*;
use crate::api::Identity;

#[path = "plan_receiver_tests.rs"]
mod receivers;

/// A folder, what is remembered, and the time: everything a plan follows from.
struct World {
    planner: Planner,
    entries: Entries,
    now: Instant,
    date: DateTime<Utc>,
    uids: u32,
    files: BTreeMap<String, String>,
    broken: BTreeSet<String>,
    shown: BTreeMap<String, String>,
    again: BTreeSet<String>,
    mounted: bool,
}

impl World {
    fn new(prune: bool) -> Self {
        Self {
            planner: Planner::new(prune, Parts::Engine),
            entries: Entries::new(),
            now: Instant::now(),
            date: "2026-11-27T03:00:00Z".parse().unwrap(),
            uids: 0,
            files: BTreeMap::new(),
            broken: BTreeSet::new(),
            shown: BTreeMap::new(),
            again: BTreeSet::new(),
            mounted: true,
        }
    }

    /// The same folder and memory with a new process.
    fn restart(&mut self, prune: bool) {
        self.planner = Planner::new(prune, self.planner.parts);
        self.shown.clear();
        self.again.clear();
    }

    fn write(&mut self, name: &str, text: impl Into<String>) {
        self.files.insert(name.to_owned(), text.into());
    }

    fn remove(&mut self, name: &str) {
        self.files.remove(name);
    }

    /// One look; does with the plan what the loop does.
    fn look(&mut self) -> Plan {
        let look = if self.mounted {
            let mut views = BTreeMap::new();
            for (name, text) in &self.files {
                let again = self.again.remove(name);
                let view = if self.broken.contains(name) {
                    FileView::Unreadable("permission denied".to_owned())
                } else if self.shown.get(name) == Some(text) && !again {
                    FileView::Unchanged
                } else {
                    FileView::Content(understand(text, "stamp"))
                };
                views.insert(name.clone(), view);
            }
            self.shown = self.files.clone();
            Ok(views)
        } else {
            Err("no such folder".to_owned())
        };
        let uids = &mut self.uids;
        let plan = self.planner.plan(look, &self.entries, self.now, self.date, &mut || {
            *uids += 1;
            format!("uid-{uids}")
        });
        for declared in &plan.declarations {
            let id = (declared.kind, declared.key.clone());
            let before = self.entries.remove(&id);
            let before = before.filter(|entry| entry.uid == declared.uid);
            let entry = Entry {
                uid: declared.uid.clone(),
                generation: declared.generation,
                spec_digest: declared.spec_digest.clone(),
                created: declared.created,
                gone_since: None,
                has_finalizer: before.as_ref().is_some_and(|entry| entry.has_finalizer),
                valid: declared.valid.clone(),
                fallback: None,
                status: before.and_then(|entry| entry.status),
            };
            self.entries.insert(id, entry);
        }
        for id in &plan.forgotten {
            self.entries.remove(id);
        }
        for (key, since) in &plan.gone {
            let id = (Kind::WebhookReceiver, key.clone());
            self.entries.get_mut(&id).unwrap().gone_since = Some(*since);
        }
        self.again = plan.read_again.clone();
        plan
    }

    /// Looks every second for a while; all that happened.
    fn pass(&mut self, seconds: u64) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            told.extend(short(&self.look()));
        }
        told
    }

    /// What the engine does while deletions need the provider.
    fn guard_provider(&mut self, name: &str, has_finalizer: bool) {
        let id = (Kind::WebhookProvider, ObjectKey::new("default", name));
        self.entries.get_mut(&id).unwrap().has_finalizer = has_finalizer;
    }

    /// What the engine does at the end of a deletion.
    fn release(&mut self, name: &str) {
        self.entries.remove(&(Kind::WebhookSubscription, ObjectKey::new("default", name)));
    }

    fn record(&mut self, name: &str, id: &str) {
        let entry =
            self.entries.get_mut(&(Kind::WebhookSubscription, ObjectKey::new("default", name))).unwrap();
        let status = serde_json::json!({ "webhookId": id });
        entry.status = Some(serde_json::value::to_raw_value(&status).unwrap());
    }
}

/// The changes of a plan in short, such as `orders uid-1 1 action`.
fn short(plan: &Plan) -> Vec<String> {
    let text = |change: &Change| {
        let who =
            |identity: &Identity| format!("{} {} {}", identity.key.name, identity.uid, identity.generation);
        match change {
            Change::Subscription(object) => {
                let mut text = who(&object.identity);
                let action = object.spec.action.as_deref().unwrap_or_default();
                let _ = write!(text, " {action}");
                if let Some(id) = &object.status.webhook_id {
                    let _ = write!(text, " id={id}");
                }
                if let Some(requested) = &object.identity.rotate_requested {
                    let _ = write!(text, " rotate={requested}");
                }
                if object.identity.force_orphan {
                    text.push_str(" force");
                }
                text
            }
            Change::TokenSource(object) => format!("source {}", who(&object.identity)),
            Change::Provider(object) => format!("provider {}", who(&object.identity)),
            Change::Invalid { identity, problem, .. } => {
                format!("invalid {} {}", who(identity), problem.field)
            }
            Change::Gone { kind, key, prune } => format!("gone {kind} {} {prune}", key.name),
            Change::Synced => "synced".to_owned(),
            Change::Evidence(evidence) => format!("evidence at {}", evidence.receiver.name),
            Change::Gates(source) => format!("gates of {}", source.name),
            Change::Mark(_) => "mark".to_owned(),
        }
    };
    plan.changes.iter().map(text).collect()
}

const PROVIDER: &str = "---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {name: gupy}
spec: {preset: gupy, auth: {bearer: {secretKeyRef: {name: gupy-api, key: token}}}}
";

const SECRET: &str = "---
apiVersion: v1
kind: Secret
metadata: {name: gupy-api}
stringData: {token: x}
";

fn subscription(name: &str, action: &str) -> String {
    annotated(name, action, "")
}

fn annotated(name: &str, action: &str, annotations: &str) -> String {
    format!(
        "---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: {name}, annotations: {{{annotations}}}}}
spec:
  providerRef: {{name: gupy}}
  action: {action}
  postbackUrl: https://integrations.example.com/gupy
  clientHeaders: [{{name: token, valueFrom: {{token: {{}}}}}}]
  tokenSourceRef: {{name: integration}}
"
    )
}

/// A world in which a provider and a subscription have been handed over.
fn settled(prune: bool) -> World {
    let mut world = World::new(prune);
    world.write("provider.yaml", PROVIDER);
    world.write("orders.yaml", subscription("orders", "a.b"));
    assert_eq!(short(&world.look()), ["provider gupy uid-2 1", "orders uid-1 1 a.b", "synced"]);
    world.record("orders", "42");
    world
}

#[test]
fn the_generation_rises_with_the_spec_and_with_nothing_else() {
    let mut world = settled(false);
    assert_eq!(world.pass(5), [""; 0]);
    world.write("orders.yaml", subscription("orders", "a.c"));
    assert_eq!(short(&world.look()), ["orders uid-1 2 a.c id=42"]);
    // Another spelling of the same.
    world.write("orders.yaml", subscription("orders", "'a.c'   # a comment"));
    assert_eq!(short(&world.look()), [""; 0]);
    world.write(
        "orders.yaml",
        annotated(
            "orders",
            "a.c",
            "hookkeeper.dev/rotate-requested-at: now, hookkeeper.dev/force-orphan: 'true'",
        ),
    );
    assert_eq!(short(&world.look()), ["orders uid-1 2 a.c id=42 rotate=now force"]);
}

#[test]
fn a_restart_finds_uid_generation_and_status_again() {
    let mut world = settled(false);
    world.write("orders.yaml", subscription("orders", "a.c"));
    world.look();
    world.restart(false);
    let plan = world.look();
    assert_eq!(short(&plan), ["provider gupy uid-2 1", "orders uid-1 2 a.c id=42", "synced"]);
    assert!(plan.declarations.is_empty());
    // A change while nobody looked.
    world.write("orders.yaml", subscription("orders", "a.d"));
    world.restart(false);
    assert_eq!(short(&world.look()), ["provider gupy uid-2 1", "orders uid-1 3 a.d id=42", "synced"]);
}

#[test]
fn an_invalid_object_is_told_once_and_its_last_version_stays() {
    let mut world = settled(false);
    world.write("orders.yaml", subscription("orders", "'not an action!'"));
    let plan = world.look();
    assert_eq!(short(&plan), ["invalid orders uid-1 2 spec.action"]);
    assert_eq!(plan.warnings.len(), 1);
    assert_eq!(world.pass(120), [""; 0]);
    // The way back is a new generation.
    world.write("orders.yaml", subscription("orders", "a.b"));
    assert_eq!(short(&world.look()), ["orders uid-1 3 a.b id=42"]);
}

#[test]
fn an_invalid_object_keeps_its_last_version_across_a_restart() {
    let mut world = settled(false);
    world.write("orders.yaml", subscription("orders", "'not an action!'"));
    world.look();
    world.restart(false);
    assert_eq!(
        short(&world.look()),
        ["provider gupy uid-2 1", "orders uid-1 1 a.b id=42", "invalid orders uid-1 2 spec.action", "synced"]
    );
    assert_eq!(world.pass(120), [""; 0]);
}

/// The provider's rules are known to the engine alone: it must see both, the one in force first.
#[test]
fn a_version_that_may_be_refused_comes_after_the_one_before_it_across_a_restart() {
    let mut world = settled(false);
    world.write("orders.yaml", subscription("orders", "a.c"));
    let id = (Kind::WebhookSubscription, ObjectKey::new("default", "orders"));
    let before = world.entries[&id].valid.clone();
    world.look();
    world.entries.get_mut(&id).unwrap().fallback = before;
    let both = ["provider gupy uid-2 1", "orders uid-1 1 a.b id=42", "orders uid-1 2 a.c id=42", "synced"];
    world.restart(false);
    assert_eq!(short(&world.look()), both);
    assert_eq!(world.pass(120), [""; 0]);
    // So it is when the manifest cannot be read at all.
    world.broken.insert("orders.yaml".to_owned());
    world.restart(false);
    assert_eq!(short(&world.look()), both);
}

#[test]
fn a_field_that_cannot_be_changed_is_not() {
    let mut world = settled(false);
    let other = subscription("orders", "a.b").replace("{name: gupy}", "{name: other}");
    world.write("orders.yaml", &*other);
    let expected = "invalid orders uid-1 2 spec.providerRef";
    assert!(short(&world.look())[0].starts_with(expected));
    world.restart(false);
    let told = short(&world.look());
    assert_eq!(told[1], "orders uid-1 1 a.b id=42");
    assert!(told[2].starts_with(expected));
}

#[test]
fn a_file_that_cannot_be_parsed_keeps_all_its_objects() {
    let mut world = settled(false);
    world.write("orders.yaml", "kind: [");
    let plan = world.look();
    assert_eq!(short(&plan), [""; 0]);
    assert_eq!(plan.warnings.len(), 1);
    assert_eq!(world.pass(300), [""; 0]);
    // Across a restart too.
    world.restart(false);
    assert_eq!(short(&world.look()), ["provider gupy uid-2 1", "orders uid-1 1 a.b id=42", "synced"]);
    assert_eq!(world.pass(300), [""; 0]);
    world.write("orders.yaml", subscription("orders", "a.c"));
    assert_eq!(short(&world.look()), ["orders uid-1 2 a.c id=42"]);
}

#[test]
fn a_broken_document_harms_only_itself() {
    let mut world = settled(false);
    world.write(
        "more.yaml",
        format!("{}---\nkind: [\n{}", subscription("one", "a.b"), subscription("two", "a.b")),
    );
    assert_eq!(short(&world.look()), ["one uid-3 1 a.b", "two uid-4 1 a.b"]);
    // The document before the broken one is taken out; who knows what the broken one holds.
    world.write("more.yaml", format!("---\nkind: [\n{}", subscription("two", "a.c")));
    assert_eq!(short(&world.look()), ["two uid-4 2 a.c"]);
    assert_eq!(world.pass(300), [""; 0]);
    world.write("more.yaml", subscription("two", "a.c"));
    assert_eq!(world.pass(70), ["gone WebhookSubscription one false"]);
}

#[test]
fn a_file_that_cannot_be_read_keeps_all_its_objects() {
    let mut world = settled(false);
    world.broken.insert("orders.yaml".to_owned());
    world.files.insert("orders.yaml".to_owned(), String::new());
    assert_eq!(world.pass(300), [""; 0]);
}

#[test]
fn an_absent_object_is_orphaned_after_a_minute_and_a_warning() {
    let mut world = settled(false);
    world.remove("orders.yaml");
    let plan = world.look();
    assert_eq!(short(&plan), [""; 0]);
    assert!(plan.warnings[0].contains("WebhookSubscription default/orders"));
    assert!(world.planner.waits());
    assert_eq!(world.pass(59), [""; 0]);
    assert_eq!(world.pass(1), ["gone WebhookSubscription orders false"]);
    assert_eq!(world.pass(300), [""; 0]);
}

#[test]
fn prune_follows_the_policy() {
    let mut world = settled(true);
    world.write("orders.yaml", "");
    assert_eq!(world.pass(61), ["gone WebhookSubscription orders true"]);
}

#[test]
fn a_file_that_is_back_within_the_minute_was_never_away() {
    let mut world = settled(true);
    for _ in 0..3 {
        world.remove("orders.yaml");
        assert_eq!(world.pass(40), [""; 0]);
        world.write("orders.yaml", subscription("orders", "a.b"));
        assert_eq!(world.pass(1), [""; 0]);
        assert!(!world.planner.waits());
    }
}

#[test]
fn moving_an_object_between_files_changes_nothing() {
    let mut world = settled(true);
    world.remove("orders.yaml");
    world.write("all.yaml", subscription("orders", "a.b"));
    let plan = world.look();
    assert_eq!(short(&plan), [""; 0]);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    assert_eq!(world.pass(300), [""; 0]);
}

#[test]
fn an_empty_or_unmounted_folder_removes_nothing() {
    let mut world = settled(true);
    let files = std::mem::take(&mut world.files);
    let plan = world.look();
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    let mut warnings = 0;
    for _ in 0..300 {
        world.now += Duration::from_secs(1);
        let plan = world.look();
        assert_eq!(short(&plan), [""; 0]);
        warnings += plan.warnings.len();
    }
    assert_eq!(warnings, 0);
    world.mounted = false;
    assert_eq!(world.pass(300), [""; 0]);
    world.restart(true);
    assert_eq!(short(&world.look()), ["provider gupy uid-2 1", "orders uid-1 1 a.b id=42", "synced"]);
    assert_eq!(world.pass(300), [""; 0]);
    // A minute counts only in one piece.
    world.mounted = true;
    world.write("provider.yaml", PROVIDER);
    assert_eq!(world.pass(50), [""; 0]);
    world.mounted = false;
    assert_eq!(world.pass(50), [""; 0]);
    world.mounted = true;
    assert_eq!(world.pass(50), [""; 0]);
    world.files = files;
    assert_eq!(world.pass(300), [""; 0]);
}

#[test]
fn what_went_while_nobody_looked_goes_after_a_minute_too() {
    let mut world = settled(true);
    world.remove("orders.yaml");
    world.restart(true);
    assert_eq!(short(&world.look()), ["provider gupy uid-2 1", "orders uid-1 1 a.b id=42", "synced"]);
    assert_eq!(world.pass(61), ["gone WebhookSubscription orders true"]);
}

#[test]
fn the_first_of_two_files_counts() {
    let mut world = settled(false);
    world.write("z.yaml", subscription("orders", "z.z"));
    let plan = world.look();
    assert_eq!(short(&plan), [""; 0]);
    assert!(plan.warnings[0].contains("z.yaml") && plan.warnings[0].contains("orders.yaml"));
    // Once the first is gone, the other takes its place.
    world.remove("orders.yaml");
    let mut told = world.pass(2);
    assert_eq!(told.pop().as_deref(), Some("orders uid-1 2 z.z id=42"));
    // A file that sorts before it wins, as it would after a restart.
    world.write("a.yaml", subscription("orders", "a.a"));
    assert_eq!(world.pass(2), ["orders uid-1 3 a.a id=42"]);
    world.restart(false);
    assert_eq!(world.look().changes.len(), 3);
    assert_eq!(world.pass(100), [""; 0]);
}

#[test]
fn the_first_of_two_documents_counts() {
    let mut world = World::new(false);
    world.write("a.yaml", subscription("orders", "a.b") + &subscription("orders", "a.c"));
    let plan = world.look();
    assert_eq!(short(&plan), ["orders uid-1 1 a.b", "synced"]);
    assert_eq!(plan.warnings.len(), 1);
}

#[test]
fn a_new_object_of_the_name_waits_for_the_deletion_of_the_old_one() {
    let mut world = settled(true);
    world.remove("orders.yaml");
    assert_eq!(world.pass(62).len(), 1);
    world.write("orders.yaml", subscription("orders", "a.b"));
    assert_eq!(world.pass(30), [""; 0]);
    world.release("orders");
    assert_eq!(world.pass(2), ["orders uid-3 1 a.b"]);
}

#[test]
fn what_a_deletion_needs_stays_until_it_is_done() {
    let mut world = World::new(true);
    world.write("other.yaml", PROVIDER.replace("gupy", "other"));
    world.write("all.yaml", format!("{PROVIDER}{SECRET}{}", subscription("orders", "a.b")));
    world.look();
    let secret = ObjectKey::new("default", "gupy-api");
    assert!(world.planner.secrets().contains_key(&secret));
    world.remove("all.yaml");
    assert_eq!(world.pass(62), ["gone WebhookSubscription orders true"]);
    assert_eq!(world.pass(60), [""; 0]);
    assert!(world.planner.secrets().contains_key(&secret));
    world.release("orders");
    assert_eq!(world.pass(1), ["gone WebhookProvider gupy true"]);
    assert!(!world.planner.secrets().contains_key(&secret));
    assert!(!world.planner.waits());
}

/// A provider that goes before its subscriptions, as one whose file is deleted first.
#[test]
fn a_provider_stays_with_its_secret_while_deletions_to_come_need_it() {
    let mut world = settled(true);
    world.write("secret.yaml", SECRET);
    world.look();
    world.guard_provider("gupy", true);
    for name in ["provider.yaml", "secret.yaml"] {
        world.remove(name);
    }
    let (mut told, mut warnings) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        world.now += Duration::from_secs(1);
        let plan = world.look();
        told.extend(short(&plan));
        warnings.extend(plan.warnings);
    }
    let held: Vec<&String> = warnings.iter().filter(|said| said.contains("stays in force: ")).collect();
    assert_eq!(held.len(), 2, "once for each: {warnings:?}");
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(world.planner.secrets().len(), 1);

    // The last of them is gone, or has another policy.
    world.guard_provider("gupy", false);
    assert!(world.pass(1).iter().any(|said| said.starts_with("gone WebhookProvider gupy")));
    world.pass(1);
    assert!(world.planner.secrets().is_empty());
}

#[test]
fn without_prune_a_provider_is_held_by_nothing() {
    let mut world = settled(false);
    world.guard_provider("gupy", true);
    world.remove("provider.yaml");
    assert!(world.pass(70).iter().any(|said| said.starts_with("gone WebhookProvider gupy")));
}

#[test]
fn an_object_that_never_was_valid_is_forgotten_when_it_goes() {
    let mut world = settled(false);
    world.write("bad.yaml", subscription("bad", "'!'"));
    assert_eq!(short(&world.look()), ["invalid bad uid-3 1 spec.action"]);
    world.remove("bad.yaml");
    assert_eq!(world.pass(61), ["gone WebhookSubscription bad false"]);
    assert_eq!(world.entries.len(), 2);
    assert!(!world.planner.waits());
}

#[test]
fn secrets_follow_their_manifests_and_survive_broken_ones() {
    let mut world = settled(false);
    let key = ObjectKey::new("default", "gupy-api");
    world.write("secret.yaml", SECRET);
    assert!(world.look().secrets_changed);
    world.write("secret.yaml", SECRET.replace("stringData: {token: x}", "data: {token: '%'}"));
    let plan = world.look();
    assert_eq!(plan.warnings.len(), 1);
    assert_eq!(world.planner.secrets()[&key].data["token"].expose(), "x");
    world.write("secret.yaml", SECRET.replace("token: x", "token: other"));
    assert!(world.look().secrets_changed);
    assert_eq!(world.planner.secrets()[&key].data["token"].expose(), "other");
}

#[test]
fn no_warning_repeats_what_stands_in_a_file() {
    let mut world = settled(false);
    world.write("a.yaml", "canary: [canary");
    world.write("b.yaml", subscription("orders", "'canary canary'"));
    world.write("c.yaml", SECRET.replace("stringData: {token: x}", "data: {token: 'canary%'}"));
    let plan = world.look();
    assert!(!plan.warnings.is_empty());
    let text = format!("{:?}{:?}", plan.warnings, plan.changes);
    assert!(!text.contains("canary"), "{text}");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever happens to the files, each object has one uid as long as it is there, its
        /// generation never falls, and nothing goes while it is in the folder.
        #[test]
        fn identities_hold(steps in proptest::collection::vec((0..3usize, 0..4usize, 0..90u64), 1..40)) {
            let mut world = settled(false);
            let names = ["a.yaml", "m.yaml", "z.yaml"];
            let mut generations: BTreeMap<String, i64> = BTreeMap::new();
            for (file, content, seconds) in steps {
                let name = names[file];
                match content {
                    0 => world.remove(name),
                    1 => world.write(name, "kind: ["),
                    2 => world.write(name, subscription("x", "a.b")),
                    _ => world.write(name, subscription("x", "'!'") + &subscription("y", "a.c")),
                }
                for _ in 0..=seconds {
                    world.now += Duration::from_secs(1);
                    for change in world.look().changes {
                        let (Change::Subscription(_) | Change::Invalid { .. } | Change::Gone { .. }) = &change else {
                            continue;
                        };
                        if let Change::Gone { key, .. } = &change {
                            let declared = world.files.values().any(|text| text.contains(&format!("name: {},", key.name)));
                            prop_assert!(!declared);
                            world.entries.remove(&(Kind::WebhookSubscription, key.clone()));
                            continue;
                        }
                        let identity = match change {
                            Change::Subscription(object) => object.identity,
                            Change::Invalid { identity, .. } => identity,
                            _ => continue,
                        };
                        let last = generations.entry(identity.uid.clone()).or_insert(0);
                        prop_assert!(identity.generation >= *last);
                        *last = identity.generation;
                    }
                }
            }
        }
    }
}
