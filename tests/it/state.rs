//! The state file and its disk in every bad shape, with a sidecar as a process of its own.
//!
//! What the file's own code does with damage is tested beside it; here it is what people see, and
//! what the provider and the token server get to see of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hookkeeper::sandbox::{Fault, Target};

use super::hookkeeper;
use super::process::{Ended, PATIENCE, Process};
use super::trial::Trial;

/// A state file of this release with one subscription in it.
const STATE: &str = r#"{"version":1,"writer":"hookkeeper 0.1.0","objects":{"WebhookSubscription":{"default/orders":{"uid":"u","generation":1,"specDigest":"d","status":{"webhookId":"42"}}}}}"#;

/// A folder with manifests, which are none, and a place for a state file.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("manifests")).unwrap();
        fs::create_dir(folder.path().join("var")).unwrap();
        Self(folder)
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("var/state.json")
    }

    fn start(&self, state: &Path) -> Process {
        hookkeeper()
            .arg("sidecar")
            .arg("--manifests")
            .arg(self.0.path().join("manifests"))
            .arg("--state")
            .arg(state)
            .args(["--admin-listen", "127.0.0.1:0"])
            .bound_by_permissions()
            .spawn()
    }

    /// It must not start: exit code 1 and one line that names the file and says what to do.
    fn assert_refused(&self, state: &Path, what: &str, to_do: &str) {
        let Ended { code, stdout, stderr } = self.start(state).wait();
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{what}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
        for part in ["hookkeeper: ", state.to_str().unwrap(), what, to_do] {
            assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_state_file_that_cannot_be_understood_keeps_the_process_from_starting() {
    let place = Place::new();
    let other_status = STATE.replace(r#""webhookId":"42""#, r#""webhookId":{"phase":"Bound"}"#);
    let no_object = STATE.replace(r#"{"uid":"u","generation":1"#, r#"{"kind":"ConfigMap","generation":1"#);
    let newer = STATE.replace(
        "\"version\":1,\"writer\":\"hookkeeper 0.1.0\"",
        "\"version\":2,\"writer\":\"hookkeeper 2.0.0\"",
    );
    let long_ago = STATE.replace("\"version\":1", "\"version\":0");
    for (content, what, to_do) in [
        ("", "damaged (it is empty)", "restore it from a backup"),
        (&STATE[..STATE.len() / 2], "damaged (it ends too early", "move it away to start again"),
        ("\0\0\0\0\0\0", "damaged (line 1, column 1)", "restore it from a backup"),
        (&other_status, r#"damaged (WebhookSubscription "default/orders")"#, "restore it from a backup"),
        (&no_object, "damaged (the objects of kind WebhookSubscription)", "restore it from a backup"),
        (
            r#"{"apiVersion":"v1","kind":"ConfigMap"}"#,
            "no state file of hookkeeper",
            "another file with --state",
        ),
        (&long_ago, "no state file of hookkeeper", "another file with --state"),
        (&newer, "has version 2, written by hookkeeper 2.0.0", "start that release again"),
    ] {
        fs::write(place.state(), content).unwrap();
        place.assert_refused(&place.state(), what, to_do);
        assert_eq!(fs::read_to_string(place.state()).unwrap(), content, "it was left as it is");
    }
}

#[test]
fn something_else_in_the_place_of_the_state_file_keeps_the_process_from_starting() {
    let place = Place::new();
    let folder = place.0.path().join("var/folder");
    fs::create_dir(&folder).unwrap();
    place.assert_refused(&folder, "no state file of hookkeeper", "another file with --state");
    // Whoever opens a pipe for reading waits until somebody writes.
    let pipe = place.0.path().join("var/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    place.assert_refused(&pipe, "no state file of hookkeeper", "another file with --state");
    let round = place.0.path().join("var/round");
    symlink(&round, &round).unwrap();
    place.assert_refused(&round, "cannot be found", "the path is meant");
}

#[test]
fn a_link_to_a_place_that_is_not_there_keeps_the_process_from_starting() {
    let place = Place::new();
    let link = place.0.path().join("link.json");
    symlink(place.0.path().join("not-mounted/state.json"), &link).unwrap();
    let Ended { code, stderr, .. } = place.start(&link).wait();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("not-mounted/state.json") && stderr.contains("No such file"), "{stderr}");
    assert!(link.is_symlink());
}

#[test]
fn permissions_that_do_not_suffice_keep_the_process_from_starting() {
    let place = Place::new();
    fs::write(place.state(), STATE).unwrap();
    set_mode(&place.state(), 0);
    place.assert_refused(&place.state(), "cannot be read: Permission denied", "permission");
    set_mode(&place.state(), 0o600);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(place.state(), Some(65_534), Some(65_534)).unwrap();
        place.assert_refused(&place.state(), "cannot be read: Permission denied", "permission");
    }
    assert_eq!(fs::read_to_string(place.state()).unwrap_or(STATE.to_owned()), STATE);

    let place = Place::new();
    set_mode(place.state().parent().unwrap(), 0o500);
    place.assert_refused(&place.state(), "Permission denied", "permission");
    set_mode(place.state().parent().unwrap(), 0o700);
}

#[test]
fn a_second_process_on_one_state_file_ends_at_once() {
    let place = Place::new();
    let first = place.start(&place.state());
    let begun = std::time::Instant::now();
    while first.admin().is_none() {
        assert!(begun.elapsed() < PATIENCE, "{}", first.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    // A link to a file that does not exist yet is one of its names, too.
    let link = place.0.path().join("link.json");
    symlink(place.state(), &link).unwrap();
    for name in [&place.state(), &link] {
        let Ended { code, stderr, .. } = place.start(name).wait();
        assert_eq!(code, Some(1), "{stderr}");
        for part in ["another process works with the state file", "var/state.json", "stop the other process"]
        {
            assert!(stderr.contains(part), "{stderr}");
        }
    }
    assert_eq!(first.stop(), Some(0));
}

fn failed_records(sidecar: &Process) -> usize {
    sidecar.log().lines().filter(|line| line.contains("the status could not be recorded")).count()
}

/// What every complaint of a disk that takes nothing must say.
fn assert_explained(sidecar: &Process, file: &Path) {
    let log = sidecar.log();
    let complaint = log.lines().find(|line| line.contains("could not be recorded")).unwrap();
    assert!(complaint.contains(file.to_str().unwrap()), "{complaint}");
    assert!(complaint.contains("free some space") || complaint.contains("permission"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_is_full_at_the_start_nothing_is_created_and_one_token_is_asked_for() {
    let trial = Trial::start(Duration::from_secs(300), 3).await;
    let sidecar =
        trial.program().through(["sh", "-c", r#"trap "" XFSZ; ulimit -S -f 0; exec "$@""#, "sh"]).spawn();
    trial.until(&sidecar, "every record tried again", |_| failed_records(&sidecar) >= 9).await;
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.mints, trial.state().as_str()), (0, 1, ""), "{ledger:#?}");
    assert_explained(&sidecar, &trial.state_file());

    sidecar.limit_files(None);
    trial.until(&sidecar, "everything created", |sandbox| sandbox.ledger().webhooks == 3).await;
    assert_eq!(sidecar.stop(), Some(0));
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.doubled, ledger.mints), (3, 0, 1), "{ledger:#?}");
    assert_eq!(trial.state().matches("webhookId").count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_makes_nothing_late_and_is_caught_up_with_when_it_has_room_again() {
    let trial = Trial::start(Duration::from_secs(8), 3).await;
    let sidecar = trial.program().without_file_size_signal().spawn();
    trial.until(&sidecar, "a rotation of each", |sandbox| sandbox.ledger().rotations >= 3).await;
    sidecar.limit_files(Some(0));
    // What is under way may still have been written.
    trial.until(&sidecar, "the first failure", |_| failed_records(&sidecar) >= 1).await;
    let (state, before) = (trial.state(), trial.sandbox.ledger());
    let more = |sandbox: &hookkeeper::sandbox::Sandbox| sandbox.ledger().rotations >= before.rotations + 6;
    trial.until(&sidecar, "two more rotations of each", more).await;
    assert_eq!(trial.state(), state, "the old content stays");
    assert_explained(&sidecar, &trial.state_file());

    // Killed and started again on the full disk: what it remembers is old, and it goes on from there.
    sidecar.kill();
    let sidecar =
        trial.program().through(["sh", "-c", r#"trap "" XFSZ; ulimit -S -f 0; exec "$@""#, "sh"]).spawn();
    let between = trial.sandbox.ledger();
    let more = |sandbox: &hookkeeper::sandbox::Sandbox| sandbox.ledger().rotations >= between.rotations + 6;
    trial.until(&sidecar, "rotations after the restart", more).await;
    assert_eq!(trial.state(), state, "the old content stays");

    sidecar.limit_files(None);
    trial.until(&sidecar, "the record caught up", |_| trial.state() != state).await;
    let recorded = trial.sandbox.ledger().rotations;
    trial.until(&sidecar, "rotations after that", |sandbox| sandbox.ledger().rotations >= recorded + 3).await;
    assert_eq!(sidecar.stop(), Some(0));
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.doubled), (3, 0), "{ledger:#?}");
    assert_eq!((ledger.late, ledger.deliveries_refused), (0, 0), "{ledger:#?}");
    assert_eq!(ledger.rotations + ledger.creates, ledger.mints * 3, "one call for each member and mint");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_during_a_create_leaves_one_subscription() {
    let trial = Trial::start(Duration::from_secs(60), 1).await;
    trial.short_settling();
    let slow = Fault { delay_ms: 1_500, ..Fault::at(Target::Create) };
    trial.sandbox.faults().add(slow.times(1)).unwrap();
    let sidecar = trial.program().without_file_size_signal().spawn();
    // Its record is durable; the disk is full before the answer is there.
    trial.until(&sidecar, "a create under way", |_| trial.state().contains(r#""creation":"#)).await;
    sidecar.limit_files(Some(0));
    trial.until(&sidecar, "the id not recorded", |_| failed_records(&sidecar) >= 1).await;
    assert_eq!(trial.sandbox.ledger().creates, 1);
    sidecar.kill();
    let sidecar = trial.sidecar();
    trial.until(&sidecar, "the id recorded", |_| trial.state().contains("webhookId")).await;
    assert_eq!(sidecar.stop(), Some(0));
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.doubled, ledger.webhooks), (1, 0, 1), "{ledger:#?}");
}

/// A folder that is a small file system of its own, as only the process sees it.
fn on_a_small_disk(folder: &Path) -> Vec<String> {
    let script = format!(
        r#"mount -t tmpfs -o size=256k,mode=700 small "{0}" && mkdir "{0}/published" && exec "$@""#,
        folder.display()
    );
    let unshare: &[&str] = if rustix::process::geteuid().is_root() {
        &["unshare", "--mount"]
    } else {
        &["unshare", "--mount", "--user", "--map-root-user"]
    };
    unshare.iter().copied().chain(["sh", "-c", &script, "sh"]).map(str::to_owned).collect()
}

/// A real full disk, where the two tests above only have what looks like one.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_disk_that_is_full_and_free_again_doubles_nothing_and_loses_nothing() {
    let trial = Trial::start(Duration::from_secs(8), 2).await;
    trial.publish();
    let disk = trial.folder().join("disk");
    fs::create_dir(&disk).unwrap();
    let (state, published) = (disk.join("state.json"), disk.join("published"));
    let mut sidecar = trial.program_with(&state, &published).through(on_a_small_disk(&disk)).spawn();
    let begun = std::time::Instant::now();
    while sidecar.admin().is_none() {
        assert!(
            sidecar.is_running() && begun.elapsed() < PATIENCE,
            "no small disk can be mounted here (`unshare --mount` must be permitted): {}",
            sidecar.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let inside = |path: &Path| sidecar.path(path);
    let read_state = || fs::read_to_string(inside(&state)).unwrap_or_default();
    trial.until(&sidecar, "a rotation of each", |sandbox| sandbox.ledger().rotations >= 2).await;

    let ballast = inside(&disk).join("ballast");
    let fill = || {
        let mut file = fs::File::options().create(true).append(true).open(&ballast).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 512]).is_ok() {}
    };
    fill();
    trial
        .until(&sidecar, "neither recorded nor published", |_| {
            let log = sidecar.log();
            failed_records(&sidecar) >= 1 && log.contains("the published token could not be written")
        })
        .await;
    // What was freed by the last write that came through.
    fill();
    let (old, before) = (read_state(), trial.sandbox.ledger());
    trial
        .until(&sidecar, "rotations meanwhile", |sandbox| sandbox.ledger().rotations >= before.rotations + 4)
        .await;
    let log = sidecar.log();
    assert!(log.contains("No space left on device"), "{log}");
    assert_explained(&sidecar, &state);
    let complaint =
        log.lines().rfind(|line| line.contains("the published token could not be written")).unwrap();
    for part in [published.to_str().unwrap(), "free some space"] {
        assert!(complaint.contains(part), "{complaint}");
    }
    assert_eq!(read_state(), old, "the old content stays");
    let remains = fs::read_dir(inside(&published).join("shared")).unwrap().count();
    assert!(remains <= 12, "{remains} entries: an attempt that failed leaves nothing behind");

    fs::remove_file(&ballast).unwrap();
    trial.until(&sidecar, "the record caught up", |_| read_state() != old).await;
    let current = || fs::read_to_string(inside(&published).join("shared/current")).unwrap_or_default();
    let stale = current();
    trial.until(&sidecar, "published again", |_| current() != stale).await;
    assert_eq!(sidecar.stop(), Some(0));
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.doubled), (2, 0), "{ledger:#?}");
    assert_eq!((ledger.late, ledger.deliveries_refused), (0, 0), "{ledger:#?}");
}
