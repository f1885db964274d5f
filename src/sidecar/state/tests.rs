use std::fs;
use std::os::unix::fs::PermissionsExt;

use futures::future::join_all;

use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn status(id: &str) -> SubscriptionStatus {
    SubscriptionStatus { webhook_id: Some(id.to_owned()), ..SubscriptionStatus::default() }
}

fn declared(state: &State, name: &str, uid: &str) -> ObjectKey {
    let key = key(name);
    state.declare(Kind::WebhookSubscription, &key, uid, 1, "d", None);
    key
}

fn recorded(state: &State, name: &str) -> SubscriptionStatus {
    state.status(Kind::WebhookSubscription, &key(name))
}

#[tokio::test]
async fn what_was_recorded_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let state = State::open(&path).unwrap();
    let key = declared(&state, "orders", "uid-1");
    state.subscription(&key, "uid-1", &status("42")).await.unwrap();
    state.set_finalizer(&key, "uid-1", true).await.unwrap();
    drop(state);

    let state = State::open(&path).unwrap();
    assert_eq!(recorded(&state, "orders"), status("42"));
    assert!(state.has_finalizer(Kind::WebhookSubscription, &key));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_provider_that_deletions_need_is_known_as_such_after_a_restart_and_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let (kind, key) = (Kind::WebhookProvider, key("gupy"));
    let state = State::open(&path).unwrap();
    state.declare(kind, &key, "uid-1", 1, "d", None);
    state.set_provider_finalizer(&key, "uid-1", true).await.unwrap();
    state.declare(kind, &key, "uid-1", 2, "e", None);
    state.flush().await.unwrap();
    drop(state);
    let state = State::open(&path).unwrap();
    assert!(state.has_finalizer(kind, &key));
    assert_eq!(state.set_provider_finalizer(&key, "of-another", false).await, Err(RecordFailure::Gone));
    state.set_provider_finalizer(&key, "uid-1", false).await.unwrap();
    assert!(!state.has_finalizer(kind, &key));
}

#[tokio::test]
async fn a_record_is_on_the_disk_when_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let state = State::open(&path).unwrap();
    let key = declared(&state, "orders", "uid-1");
    for id in ["1", "2", "3"] {
        state.subscription(&key, "uid-1", &status(id)).await.unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!(r#""webhookId":"{id}""#)), "{text}");
    }
}

#[tokio::test]
async fn records_that_arrive_together_are_written_together() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(&folder.path().join("state.json")).unwrap();
    let keys: Vec<_> = (0..200).map(|number| declared(&state, &format!("s{number}"), "u")).collect();
    let status = status("1");
    // Nobody's turn comes before all have asked.
    let turn = Arc::clone(&state.0.turn).lock_owned().await;
    let records = join_all(keys.iter().map(|key| state.subscription(key, "u", &status)));
    let (results, ()) = tokio::join!(records, async move { drop(turn) });
    assert!(results.into_iter().all(|result| result.is_ok()));
    assert_eq!(state.0.book().writes, 1);
}

#[tokio::test]
async fn an_unchanged_status_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(&folder.path().join("state.json")).unwrap();
    let key = declared(&state, "orders", "u");
    for _ in 0..3 {
        state.subscription(&key, "u", &status("1")).await.unwrap();
        state.set_finalizer(&key, "u", true).await.unwrap();
    }
    assert_eq!(state.0.book().writes, 2);
}

#[tokio::test]
async fn a_record_for_another_uid_finds_the_object_gone() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(&folder.path().join("state.json")).unwrap();
    let key = declared(&state, "orders", "old");
    state.subscription(&key, "old", &status("1")).await.unwrap();
    declared(&state, "orders", "new");
    assert_eq!(recorded(&state, "orders"), SubscriptionStatus::default());
    let result = state.subscription(&key, "old", &status("1")).await;
    assert_eq!(result, Err(RecordFailure::Gone));
    // The old object's release takes nothing from the new one.
    state.release(&key, "old").await.unwrap();
    assert!(state.remembers(Kind::WebhookSubscription, &key));
    state.release(&key, "new").await.unwrap();
    assert!(!state.remembers(Kind::WebhookSubscription, &key));
    assert_eq!(state.set_finalizer(&key, "new", true).await, Err(RecordFailure::Gone));
}

#[tokio::test]
async fn a_new_generation_keeps_the_status() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let state = State::open(&path).unwrap();
    let key = declared(&state, "orders", "u");
    state.subscription(&key, "u", &status("1")).await.unwrap();
    let valid = ValidSpec { generation: 2, spec: to_raw_value(&serde_json::json!({"a": 1})).unwrap() };
    state.declare(Kind::WebhookSubscription, &key, "u", 2, "e", Some(valid));
    state.flush().await.unwrap();
    drop(state);
    let state = State::open(&path).unwrap();
    assert_eq!(recorded(&state, "orders"), status("1"));
    let entries = state.entries();
    let entry = &entries[&(Kind::WebhookSubscription, key)];
    assert_eq!((entry.generation, entry.spec_digest.as_str()), (2, "e"));
    assert_eq!(entry.valid.as_ref().unwrap().spec.get(), r#"{"a":1}"#);
}

#[tokio::test]
async fn the_version_before_is_remembered_until_the_new_one_works() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let mut state = State::open(&path).unwrap();
    let key = declared(&state, "orders", "u");
    let kind = Kind::WebhookSubscription;
    let declare = |state: &State, generation: i64, uid: &str| {
        let valid = ValidSpec { generation, spec: to_raw_value(&serde_json::json!({})).unwrap() };
        state.declare(kind, &key, uid, generation, &format!("d{generation}"), Some(valid));
    };
    let fallback = |state: &State| {
        let entries = state.entries();
        entries[&(kind, key.clone())].fallback.as_ref().map(|fallback| fallback.generation)
    };
    let judged = |generation: i64, ready: &str| -> SubscriptionStatus {
        serde_json::from_value(serde_json::json!({"observedGeneration": generation, "conditions": [{
            "type": "Ready", "status": ready, "reason": "InvalidSpec", "message": "",
            "lastTransitionTime": "2026-11-21T17:00:02Z",
        }]}))
        .unwrap()
    };
    declare(&state, 2, "u");
    assert_eq!(fallback(&state), None);
    declare(&state, 3, "u");
    // Neither another edit nor a restart, a status of an older version or a bad one lets go of it.
    declare(&state, 4, "u");
    for status in [judged(4, "False"), judged(2, "True")] {
        state.subscription(&key, "u", &status).await.unwrap();
        drop(state);
        state = State::open(&path).unwrap();
        assert_eq!(fallback(&state), Some(2));
    }
    state.subscription(&key, "u", &judged(4, "True")).await.unwrap();
    assert_eq!(fallback(&state), None);
    declare(&state, 5, "u");
    assert_eq!(fallback(&state), Some(4));
    declare(&state, 1, "another");
    assert_eq!(fallback(&state), None);
}

#[tokio::test]
async fn sources_and_providers_are_remembered_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let state = State::open(&path).unwrap();
    let key = key("integration");
    let source =
        TokenSourceStatus { token_fingerprint: Some("f".to_owned()), ..TokenSourceStatus::default() };
    let provider = WebhookProviderStatus { observed_generation: Some(3), ..WebhookProviderStatus::default() };
    assert_eq!(state.token_source(&key, &source).await, Err(RecordFailure::Gone));
    state.declare(Kind::TokenSource, &key, "u", 1, "d", None);
    state.declare(Kind::WebhookProvider, &key, "v", 1, "d", None);
    state.token_source(&key, &source).await.unwrap();
    state.provider(&key, &provider).await.unwrap();
    drop(state);
    let state = State::open(&path).unwrap();
    assert_eq!(state.status::<TokenSourceStatus>(Kind::TokenSource, &key), source);
    assert_eq!(state.status::<WebhookProviderStatus>(Kind::WebhookProvider, &key), provider);
}

#[test]
fn a_second_process_is_refused_also_under_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    fs::write(&path, r#"{"version":1,"writer":"x","objects":{}}"#).unwrap();
    let link = folder.path().join("link.json");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let first = State::open(&path).unwrap();
    for name in [&path, &link] {
        assert!(matches!(State::open(name), Err(StateError::InUse(_))));
    }
    drop(first);
    State::open(&link).unwrap();
}

#[tokio::test]
async fn a_link_to_a_file_that_does_not_exist_yet_is_written_through_and_shares_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("var")).unwrap();
    let path = folder.path().join("var/state.json");
    let link = folder.path().join("link.json");
    std::os::unix::fs::symlink("var/state.json", &link).unwrap();
    let state = State::open(&link).unwrap();
    assert!(matches!(State::open(&path), Err(StateError::InUse(_))));
    let key = declared(&state, "orders", "u");
    state.subscription(&key, "u", &status("1")).await.unwrap();
    assert!(link.is_symlink() && path.is_file());
}

#[test]
fn a_link_to_a_folder_that_is_away_is_no_first_start() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link.json");
    std::os::unix::fs::symlink("away/state.json", &link).unwrap();
    let error = State::open(&link).unwrap_err();
    assert!(matches!(error, StateError::Inaccessible { doing: "found", .. }), "{error:?}");
    assert!(error.to_string().contains("away/state.json"), "{error}");
    assert!(link.is_symlink());
}

#[test]
fn what_is_no_file_is_refused_without_opening_it() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(State::open(folder.path()), Err(StateError::Foreign(_))));
    assert!(matches!(State::open(std::path::Path::new("/dev/null")), Err(StateError::Foreign(_))));
    let round = folder.path().join("round");
    std::os::unix::fs::symlink(&round, &round).unwrap();
    assert!(matches!(State::open(&round), Err(StateError::Inaccessible { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no lock is left behind");
}

#[test]
fn a_file_that_cannot_be_understood_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    for content in [
        &b""[..],
        b"{\"version\":1,\"writer\":\"hookkeeper 0.1.0\",\"objects\":{\"Webh",
        b"\x00\x00\x00\x00",
        b"\xff\xfe",
        b"{\"name\":\"package\"}",
        b"{\"version\":7,\"writer\":\"hookkeeper 7\"}",
    ] {
        fs::write(&path, content).unwrap();
        let error = State::open(&path).unwrap_err().to_string();
        assert!(error.contains("state.json"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent/state.json");
    let error = State::open(&path).unwrap_err();
    assert!(matches!(error, StateError::Inaccessible { .. }), "{error:?}");
    assert!(error.to_string().contains("absent/state.json"), "{error}");
}

#[tokio::test]
async fn a_write_that_fails_loses_nothing_and_can_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("state.json");
    let state = State::open(&path).unwrap();
    let key = declared(&state, "orders", "u");
    state.subscription(&key, "u", &status("1")).await.unwrap();

    // The folder is gone for a while: nothing can be written, as on a full disk.
    let aside = folder.path().join("aside");
    fs::rename(&inner, &aside).unwrap();
    let result = state.subscription(&key, "u", &status("2")).await;
    assert!(matches!(result, Err(RecordFailure::Unavailable(_))), "{result:?}");
    let text = fs::read_to_string(aside.join("state.json")).unwrap();
    assert!(text.contains(r#""webhookId":"1""#), "{text}");

    fs::rename(&aside, &inner).unwrap();
    state.set_finalizer(&key, "u", true).await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#""webhookId":"2""#), "{text}");
}

#[tokio::test]
async fn a_failed_write_is_tried_again_for_an_equal_status() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let state = State::open(&inner.join("state.json")).unwrap();
    let key = declared(&state, "orders", "u");
    let aside = folder.path().join("aside");
    fs::rename(&inner, &aside).unwrap();
    state.subscription(&key, "u", &status("1")).await.unwrap_err();
    fs::rename(&aside, &inner).unwrap();
    state.subscription(&key, "u", &status("1")).await.unwrap();
    let text = fs::read_to_string(inner.join("state.json")).unwrap();
    assert!(text.contains(r#""webhookId":"1""#), "{text}");
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_let_two_writes_run_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let state = State::open(&path).unwrap();
    let key = declared(&state, "orders", "u");
    for number in 0..50 {
        let id = number.to_string();
        let wanted = status(&id);
        let mut record = state.subscription(&key, "u", &wanted);
        // One poll begins the write; then the caller is gone.
        let _ = futures::poll!(&mut record);
        drop(record);
    }
    state.subscription(&key, "u", &status("last")).await.unwrap();
    drop(state);
    assert_eq!(recorded(&State::open(&path).unwrap(), "orders"), status("last"));
}

#[tokio::test]
async fn a_full_disk_is_asked_once_for_all_who_wait() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let state = State::open(&inner.join("state.json")).unwrap();
    let keys: Vec<_> = (0..20).map(|number| declared(&state, &format!("s{number}"), "u")).collect();
    fs::remove_file(inner.join("state.json.lock")).unwrap();
    fs::remove_dir(&inner).unwrap();
    let status = status("1");
    let turn = Arc::clone(&state.0.turn).lock_owned().await;
    let records = join_all(keys.iter().map(|key| state.subscription(key, "u", &status)));
    let (results, ()) = tokio::join!(records, async move { drop(turn) });
    assert!(results.into_iter().all(|result| result.is_err()));
    assert_eq!(state.0.book().writes, 1);
}

#[tokio::test]
async fn a_receiver_is_forgotten_only_while_it_is_gone_and_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let (kind, key) = (Kind::WebhookReceiver, key("gupy"));
    let since = "2026-11-27T03:00:00Z".parse().unwrap();
    let state = State::open(&path).unwrap();
    state.declare(kind, &key, "uid-1", 1, "d", None);
    state.forget_gone(&key, "uid-1").await.unwrap();
    assert!(state.remembers(kind, &key), "its manifest is there");
    state.gone(kind, &key, since);
    state.gone(kind, &key, DateTime::UNIX_EPOCH);
    state.forget_gone(&key, "of another").await.unwrap();
    drop(state);
    let state = State::open(&path).unwrap();
    let entry = |state: &State| state.entries().get(&(kind, key.clone())).cloned();
    assert_eq!(entry(&state).unwrap().gone_since, Some(since));
    // Back again, it is as if it had never been gone.
    state.declare(kind, &key, "uid-1", 1, "d", None);
    assert_eq!(entry(&state).unwrap().gone_since, None);
    state.gone(kind, &key, since);
    state.forget_gone(&key, "uid-1").await.unwrap();
    drop(state);
    assert!(!State::open(&path).unwrap().remembers(kind, &key));
}
