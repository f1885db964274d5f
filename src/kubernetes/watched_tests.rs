//! A watch, event by event.

use serde_json::json;

use super::*;

fn object(name: &str) -> DynamicObject {
    serde_json::from_value(json!({"metadata": {"namespace": "hr", "name": name}})).unwrap()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("hr", name)
}

fn refused(code: u16) -> watcher::Error {
    let status = serde_json::from_value(json!({ "code": code })).unwrap();
    watcher::Error::InitialListFailed(kube::Error::Api(status))
}

/// Short words for what follows: `+name` is there and believed, `~name` is there, `-name` is gone.
fn told(changes: &[Change]) -> Vec<String> {
    let word = |change: &Change| match change {
        Change::There(object, true) => format!("+{}", key_of(object).name),
        Change::There(object, false) => format!("~{}", key_of(object).name),
        Change::Gone(key) => format!("-{}", key.name),
        Change::Listed => "listed".to_owned(),
        Change::MayNotList => "may not list".to_owned(),
        Change::NotInstalled => "not installed".to_owned(),
    };
    changes.iter().map(word).collect()
}

impl Watched {
    fn takes(&mut self, event: Event<DynamicObject>) -> Vec<String> {
        told(&self.take(Ok(event)))
    }

    fn fails(&mut self, code: u16) -> Vec<String> {
        told(&self.take(Err(refused(code))))
    }

    /// A whole list of these.
    fn lists(&mut self, names: &[&str]) -> Vec<String> {
        let mut said = self.takes(Event::Init);
        for name in names {
            said.extend(self.takes(Event::InitApply(object(name))));
        }
        said.extend(self.takes(Event::InitDone));
        said
    }
}

fn watched() -> Watched {
    Watched::new(true, true)
}

#[test]
fn what_a_list_does_not_contain_is_gone_when_it_is_complete() {
    let mut watched = watched();
    assert_eq!(watched.lists(&["a", "b"]), ["+a", "+b", "listed"]);
    assert_eq!(watched.takes(Event::Apply(object("c"))), ["~c"]);
    assert_eq!(watched.takes(Event::Delete(object("a"))), ["-a"]);
    assert_eq!(watched.lists(&["b"]), ["~b", "-c", "listed"], "the watch has not said so");
    assert_eq!(watched.present, BTreeSet::from([key("b")]));
}

#[test]
fn of_a_list_that_broke_off_nothing_is_gone_and_nothing_counts_for_the_next() {
    let mut watched = watched();
    watched.lists(&["a", "b"]);
    assert!(watched.takes(Event::Init).is_empty());
    assert_eq!(watched.takes(Event::InitApply(object("c"))), ["~c"]);
    assert_eq!(watched.fails(500), [""; 0]);
    assert_eq!(watched.lists(&["a"]), ["~a", "-b", "-c", "listed"]);
    // A watch that is begun anew forgets it as well.
    watched.takes(Event::Init);
    watched.takes(Event::InitApply(object("d")));
    watched.begin(0);
    assert_eq!(watched.takes(Event::InitDone), ["-a", "-d", "listed"]);
}

#[test]
fn what_is_recorded_is_believed_in_the_first_list_of_a_round() {
    let mut watched = watched();
    assert_eq!(watched.lists(&["a"]), ["+a", "listed"]);
    assert_eq!(watched.lists(&["a"]), ["~a", "listed"], "others may have written meanwhile");
    watched.begin(1);
    assert_eq!(watched.lists(&["a"]), ["+a", "listed"]);
    watched.begin(1);
    assert_eq!(watched.lists(&["a"]), ["~a", "listed"], "the same round, begun again after a silence");
    watched.fails(403);
    assert_eq!(watched.lists(&["a"]), ["+a", "listed"], "nobody has looked since");
}

#[test]
fn a_list_is_waited_for_and_a_watch_may_be_silent() {
    let mut watched = watched();
    assert!(watched.is_listing());
    watched.lists(&[]);
    assert!(!watched.is_listing());
    watched.takes(Event::Init);
    assert!(watched.is_listing());
    watched.takes(Event::InitDone);
    watched.begin(1);
    assert!(watched.is_listing());
}

#[test]
fn who_may_not_list_is_not_waited_for_in_a_namespace_alone() {
    let mut watched = watched();
    watched.lists(&["a"]);
    watched.unlisted.insert(key("b"));
    assert_eq!(watched.fails(403), ["may not list"]);
    assert_eq!(watched.present, BTreeSet::from([key("a")]), "what is gone is for others to say");
    watched.lists(&["a"]);
    assert!(watched.unlisted.is_empty(), "everything may be listed again");
    assert_eq!(Watched::new(false, true).fails(403), [""; 0]);
}

#[test]
fn without_its_definition_an_optional_kind_has_no_objects() {
    assert_eq!(watched().fails(404), ["not installed"]);
    assert_eq!(Watched::new(true, false).fails(404), [""; 0]);
    // Only of a list: a watch that ends in this way is begun again.
    let ended = watcher::Error::WatchFailed(kube::Error::Api(
        serde_json::from_value(json!({ "code": 404 })).unwrap(),
    ));
    assert_eq!(watched().take(Err(ended)), []);
}

#[test]
fn waits_double_up_to_the_longest_and_begin_anew_when_the_server_was_reached() {
    let mut watched = watched();
    let mut waits = Vec::new();
    for _ in 0..7 {
        waits.push(watched.wait().as_millis());
        watched.waited(false);
    }
    assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
    watched.waited(true);
    assert_eq!(watched.wait(), FIRST_WAIT);
    for event in [Event::InitDone, Event::Apply(object("a"))] {
        watched.waited(false);
        watched.takes(event);
        assert_eq!(watched.wait(), FIRST_WAIT);
    }
    watched.waited(false);
    for event in [Event::Init, Event::InitApply(object("a")), Event::Delete(object("a"))] {
        watched.takes(event);
        assert_ne!(watched.wait(), FIRST_WAIT);
    }
}
