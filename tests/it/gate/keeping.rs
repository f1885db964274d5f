//! What was acknowledged is kept: through `kill -9`, a full disk, and everything that makes a store unusable.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::stage::{Gate, Stage};
use super::wire;
use crate::process::{Ended, Program};

pub(super) const RECEIVER: &str = "
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookReceiver
metadata: {name: events}
spec:
  verification: {token: {header: X-Webhook-Token, secretKeyRefs: [{name: hooks, key: token}]}}
  duplicates: {key: [/id], action: Drop}
  forward: {url: APPLICATION/events, retry: {interval: 1s, maxInterval: 1s}}
";

pub(super) const TOKEN: (&str, &str) = ("X-Webhook-Token", "canary-webhook-token");
const STORE: &str = "hookkeeper.db";

async fn stage() -> Stage {
    let stage = Stage::with(RECEIVER).await;
    stage.secret("hooks", "token", TOKEN.1);
    stage
}

pub(super) fn body(id: &str) -> String {
    format!(r#"{{"id":"{id}","of":"canary-body"}}"#)
}

pub(super) fn send(gate: &Gate, id: &str) -> u16 {
    gate.post("/default/events", &[TOKEN], body(id).as_bytes()).status
}

/// The ids that the application took, each with the deliveries that brought it.
pub(super) fn took(stage: &Stage) -> BTreeMap<String, BTreeSet<String>> {
    let mut by_id: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for handed in stage.application.took() {
        let body: serde_json::Value = serde_json::from_slice(&handed.body).unwrap();
        by_id.entry(body["id"].as_str().unwrap().to_owned()).or_default().insert(handed.delivery());
    }
    by_id
}

/// A platform that sends again what was not acknowledged, at an address where somebody listens most of the time.
pub(super) struct Sender {
    leaves: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Sender {
    pub(super) fn to(address: SocketAddr, threads: usize) -> Self {
        let leaves = Arc::new(AtomicBool::new(false));
        let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let threads = (0..threads).map(|thread| {
            let (leaves, acknowledged) = (Arc::clone(&leaves), Arc::clone(&acknowledged));
            std::thread::spawn(move || {
                for number in 0.. {
                    if leaves.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("{}-{thread}-{number}", address.port());
                    while !deliver(address, &id) {
                        if leaves.load(Ordering::Relaxed) {
                            return;
                        }
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    acknowledged.lock().unwrap().insert(id);
                }
            })
        });
        Self { threads: threads.collect(), leaves, acknowledged }
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    pub(super) fn leave(self) -> BTreeSet<String> {
        self.leaves.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.acknowledged.lock().unwrap().clone()
    }
}

/// Whether it was acknowledged.
fn deliver(address: SocketAddr, id: &str) -> bool {
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    let sent = wire::post("/default/events", &[TOKEN], body(id).as_bytes());
    let written = std::io::Write::write_all(&mut stream, &sent);
    written.is_ok() && wire::read(&mut stream).is_some_and(|answer| answer.status == 200)
}

/// `HOOKKEEPER_TEST_KILLS=100` for the whole proof.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_again_and_again_under_load_loses_nothing() {
    let kills: usize = std::env::var("HOOKKEEPER_TEST_KILLS").map_or(10, |kills| kills.parse().unwrap());
    let stage = stage().await;
    stage.application.takes(Duration::from_millis(20));
    let mut gate = stage.gate();
    let address = gate.address;
    let sender = Sender::to(address, 6);
    for _ in 0..kills {
        let before = sender.acknowledged();
        gate.until("some more are acknowledged", || sender.acknowledged() >= before + 20).await;
        gate.process.kill();
        gate = stage.start(stage.program().replace("--listen", &address.to_string()));
    }
    let acknowledged = sender.leave();
    let lost = || {
        let took = took(&stage);
        acknowledged.iter().filter(|id| !took.contains_key(*id)).cloned().collect::<Vec<_>>()
    };
    gate.until("everything acknowledged is handed on", || lost().is_empty()).await;
    gate.until("nothing is left", || gate.deliveries(&["list"]).stdout == "nothing waits\n").await;
    // What was handed on twice, or sent again, is the same delivery.
    for (id, deliveries) in took(&stage) {
        assert_eq!(deliveries.len(), 1, "{id}: {deliveries:?}");
    }
    gate.stop();
}

/// A stage whose store holds three deliveries that the application does not want yet, and nobody has it open.
async fn kept(change: impl Fn(&Stage, &mut Program)) -> Stage {
    let stage = stage().await;
    stage.application.answers(500);
    let mut program = stage.program();
    change(&stage, &mut program);
    let gate = stage.start(&mut program);
    for id in ["a", "b", "c"] {
        assert_eq!(send(&gate, id), 200);
    }
    gate.stop();
    stage
}

/// All files of the folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.display().to_string(), fs::read(&path).unwrap_or_default())).collect()
}

/// It does not start, says each of these, and leaves the folder as it is.
fn refuses(stage: &Stage, program: &mut Program, says: &[&str]) {
    let before = files(&stage.path("data"));
    let Ended { code, stderr, .. } = program.run();
    assert_eq!(code, Some(1), "{stderr}");
    for words in says {
        assert!(stderr.contains(words), "it does not say {words:?}: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(before == files(&stage.path("data")), "something was changed: {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_used_is_named_with_what_to_do() {
    let stage = stage().await;
    let text = |name: &str| stage.path(name).display().to_string();
    let with = |folder: &str| {
        let mut program = stage.program();
        program.replace("--data", folder);
        program
    };
    refuses(&stage, &mut with(&text("nowhere")), &[&text("nowhere"), "does not exist", "make it"]);
    assert!(!stage.path("nowhere").exists());
    fs::write(stage.path("file"), "").unwrap();
    refuses(&stage, &mut with(&text("file")), &[&text("file"), "is no folder"]);
    fs::create_dir(stage.path("closed")).unwrap();
    for mode in [0o500, 0o000] {
        fs::set_permissions(stage.path("closed"), fs::Permissions::from_mode(mode)).unwrap();
        let mut program = with(&text("closed"));
        program.bound_by_permissions();
        refuses(&stage, &mut program, &[&text("closed"), "give the folder and its files to the user"]);
    }
    let mut program = stage.program();
    program.through(small_disk(&stage.path("data"), "1m"));
    refuses(&stage, &mut program, &[&text("data"), "in memory (tmpfs)", "--data-may-vanish"]);
}

/// What runs a program with a small disk at this folder, which goes with it.
fn small_disk(folder: &Path, size: &str) -> Vec<String> {
    let script =
        format!(r#"mount -t tmpfs -o size={size},mode=700 small "{}" && exec "$@""#, folder.display());
    let unshare: &[&str] = if rustix::process::geteuid().is_root() {
        &["unshare", "--mount"]
    } else {
        &["unshare", "--mount", "--user", "--map-root-user"]
    };
    unshare.iter().copied().chain(["sh", "-c", &script, "sh"]).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_has_a_folder_and_a_second_one_says_so() {
    let stage = stage().await;
    let gate = stage.gate();
    assert_eq!(send(&gate, "a"), 200);
    let Ended { code, stderr, .. } = stage.program().run();
    assert_eq!(code, Some(1));
    let folder = stage.path("data").display().to_string();
    assert!(stderr.contains(&folder) && stderr.contains("in use by another process"), "{stderr}");
    // The first one has noticed nothing.
    assert_eq!(send(&gate, "b"), 200);
    stage.until_took(&gate, 2).await;
    gate.stop();
    stage.gate().stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_ours_or_not_whole_is_named_and_left_as_it_is() {
    let stage = kept(|_, _| {}).await;
    let path = stage.path("data").join(STORE);
    let whole = fs::read(&path).unwrap();
    let named = path.display().to_string();
    let changed = |at: usize, bytes: &[u8]| {
        let mut content = whole.clone();
        content[at..at + bytes.len()].copy_from_slice(bytes);
        content
    };
    // Offsets of the header: https://www.sqlite.org/fileformat.html#the_database_header
    let cases: [(Vec<u8>, &[&str]); 8] = [
        (
            b"notes of somebody else, long enough for a header of one hundred bytes ".repeat(3),
            &["not a store"],
        ),
        (changed(68, &7_u32.to_be_bytes()), &["not a store", "move it away"]),
        (changed(60, &9_999_u32.to_be_bytes()), &["newer hookkeeper", "9999", "start that one again"]),
        (whole[..whole.len() / 2].to_vec(), &["damaged", "backup", ".recover"]),
        (whole[..50].to_vec(), &["damaged", "backup"]),
        (Vec::new(), &["damaged"]),
        (vec![0; whole.len()], &["damaged", "blank"]),
        (changed(4_096, &[0xa5; 4_096]), &["damaged", "backup"]),
    ];
    for (content, says) in cases {
        fs::write(&path, content).unwrap();
        refuses(&stage, &mut stage.program(), &[&[named.as_str()], says].concat());
    }
    let mut program = stage.program();
    fs::write(&path, &whole).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    refuses(&stage, program.bound_by_permissions(), &[&named, "give the folder and its files to the user"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    // Nothing of what was kept has suffered.
    stage.application.answers(200);
    let gate = stage.gate();
    gate.until("all are handed on", || took(&stage).keys().eq(["a", "b", "c"])).await;
    gate.stop();
}

/// Key files by their names, as `--data-key-file` options.
fn keyed(stage: &Stage, program: &mut Program, names: &[&str]) {
    for (number, name) in names.iter().enumerate() {
        let path = stage.path(name);
        if !path.exists() {
            // 32 bytes in hex, other ones for each name.
            let byte = name.bytes().map(u32::from).sum::<u32>() % 251;
            let key: String = (0..32).map(|index| format!("{:02x}", (byte + index * 7) % 256)).collect();
            fs::write(&path, key).unwrap();
        }
        assert!(number < 2);
        program.arg("--data-key-file").arg(path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_store_opens_with_its_key_alone_and_the_key_can_be_changed() {
    let stage = kept(|stage, program| keyed(stage, program, &["first.key"])).await;
    for (name, content) in files(&stage.path("data")) {
        let holds = |text: &[u8]| content.windows(text.len()).any(|window| window == text);
        assert!(!holds(b"canary") && !holds(TOKEN.1.as_bytes()), "in clear in {name}");
    }
    let with = |names: &[&str]| {
        let mut program = stage.program();
        keyed(&stage, &mut program, names);
        program
    };
    let folder = stage.path("data").display().to_string();
    refuses(&stage, &mut with(&[]), &["KeyStillNeeded", &folder, "--data-key-file"]);
    refuses(&stage, &mut with(&["second.key"]), &["KeyStillNeeded", &folder, "second --data-key-file"]);
    fs::write(stage.path("password.key"), "a password of 32 characters here").unwrap();
    let named = stage.path("password.key").display().to_string();
    refuses(&stage, &mut with(&["password.key"]), &[&named, "32 random bytes"]);
    let missing = stage.path("missing.key").display().to_string();
    refuses(&stage, stage.program().args(["--data-key-file", &missing]), &[&missing]);

    // Both keys for as long as something needs the old one, which the log says.
    let mut gate = stage.start(&mut with(&["second.key", "first.key"]));
    gate.process.until_says("no row needs this data key any more");
    gate.stop();
    refuses(&stage, &mut with(&["first.key"]), &["KeyStillNeeded", &folder]);
    stage.application.answers(200);
    let gate = stage.start(&mut with(&["second.key"]));
    gate.until("all are handed on", || took(&stage).keys().eq(["a", "b", "c"])).await;
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_is_acknowledged_that_is_not_kept_and_it_goes_on_when_there_is_space() {
    let stage = stage().await;
    stage.application.answers(500);
    // 64 MiB are held back for what is there already.
    let mut program = stage.program();
    program.arg("--data-may-vanish").through(small_disk(&stage.path("data"), "72m"));
    let gate = stage.start(&mut program);
    let large = |id: &str| format!("{}{}", body(id), " ".repeat(900_000));
    let mut kept = BTreeSet::new();
    let mut send_large = |id: String| {
        let answer = gate.post("/default/events", &[TOKEN], large(&id).as_bytes());
        if answer.status == 200 {
            kept.insert(id);
        } else {
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("30")));
        }
        answer.status
    };
    let first: Vec<u16> = (0..20).map(|number| send_large(format!("first-{number}"))).collect();
    assert!(first.starts_with(&[200]) && first.ends_with(&[503]), "{first:?}");
    let ready = || gate.process.get("/readyz").unwrap().starts_with("HTTP/1.1 200 ");
    assert!(ready(), "a full disk is no reason to be taken out of service");
    assert!(gate.process.log().contains("deliveries are answered 503"), "{}", gate.process.log());

    // Now also without what was held back.
    let rest = gate.process.path(&stage.path("data")).join("rest");
    let mut file = fs::File::create(&rest).unwrap();
    let filled = std::io::copy(&mut std::io::repeat(0), &mut file);
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    // An open file keeps its space, also when its name is gone.
    drop(file);
    assert_eq!(send_large("none".to_owned()), 503);
    assert!(ready());
    fs::remove_file(&rest).unwrap();
    stage.application.answers(200);
    gate.until("it takes some in again", || send_large("last".to_owned()) == 200).await;
    gate.until("all that was acknowledged is handed on", || {
        let took = took(&stage);
        kept.iter().all(|id| took.contains_key(id))
    })
    .await;
    assert!(took(&stage).keys().all(|id| kept.contains(id)), "nothing else");
    gate.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_ends_the_process_and_what_was_acknowledged_is_there_afterwards() {
    let stage = stage().await;
    stage.application.answers(500);
    let mut program = stage.program();
    let gate = stage.start(program.without_file_size_signal());
    gate.process.limit_files(Some(4 << 20));
    let mut kept = BTreeSet::new();
    for number in 0..20 {
        let id = number.to_string();
        let large = format!("{}{}", body(&id), " ".repeat(900_000));
        let sent = wire::post("/default/events", &[TOKEN], large.as_bytes());
        let Ok(mut stream) = std::net::TcpStream::connect(gate.address) else { break };
        let _ = std::io::Write::write_all(&mut stream, &sent);
        match wire::read(&mut stream).map(|answer| answer.status) {
            Some(200) => assert!(kept.insert(id)),
            refused => {
                assert!([None, Some(503)].contains(&refused), "{refused:?}");
                break;
            }
        }
    }
    let Ended { code, stderr, .. } = gate.process.wait();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("the store has failed") && stderr.contains("see that the disk works"),
        "{stderr}"
    );
    assert!(stderr.contains(&stage.path("data").display().to_string()), "{stderr}");
    assert!(!kept.is_empty());
    stage.application.answers(200);
    let gate = stage.gate();
    gate.until("all that was acknowledged is handed on", || took(&stage).keys().eq(kept.iter())).await;
    gate.stop();
}
