//! The built-in descriptions, and how a provider object is laid over one.

use std::time::Duration;

use super::{APPLICATION_COMPLETED, GUPY, provider, subscription};
use crate::engine::ports::ProviderProfile;
use crate::provider::{Provider, presets};

#[test]
fn every_preset_is_valid_and_complete() {
    for name in presets() {
        let spec = provider(&format!("{{preset: {name}, auth: {{none: {{}}}}}}"));
        let resolved = Provider::resolve(&spec).unwrap();
        let profile = resolved.profile();
        assert!(profile.can_list && profile.can_create && profile.can_delete, "{name}");
        assert!(profile.origin.starts_with("https://"), "{name}");
    }
}

#[test]
fn gupy_is_as_documented() {
    let resolved = Provider::resolve(&provider(GUPY)).unwrap();
    assert_eq!(
        *resolved.profile(),
        ProviderProfile {
            origin: "https://api.gupy.io".to_owned(),
            base_url: "https://api.gupy.io".to_owned(),
            requests_per_minute: 500,
            preset_requests_per_minute: Some(500),
            max_concurrent: 8,
            timeout: Duration::from_secs(10),
            overlap: Duration::from_secs(2 * 3600),
            verify_interval: Duration::from_secs(3600),
            settle: Duration::from_secs(300),
            can_list: true,
            can_create: true,
            can_delete: true,
            lists_actions: true,
            lists_urls: true,
        }
    );
    let spec = subscription(APPLICATION_COMPLETED);
    assert_eq!(resolved.check(&spec), Ok(()));
    assert_eq!(resolved.warning(&spec), None);
    let mut spec = spec;
    spec.postback_url = "https://abc.m.pipedream.net/x".to_owned();
    assert_eq!(resolved.check(&spec), Ok(()));
    assert!(resolved.warning(&spec).unwrap().contains("pipedream.net"));
}

#[test]
fn the_limits_of_a_preset_are_a_ceiling_at_its_own_origin_only() {
    for (own, origin, requests, ceiling, concurrent, timeout) in [
        ("", "https://api.gupy.io", 500, Some(500), 8, 10),
        (
            "limits: {requestsPerMinute: 9, maxConcurrent: 1, timeout: 30s}",
            "https://api.gupy.io",
            9,
            Some(500),
            1,
            30,
        ),
        (
            "limits: {requestsPerMinute: 9000, maxConcurrent: 99}",
            "https://api.gupy.io",
            500,
            Some(500),
            8,
            10,
        ),
        ("baseUrl: https://API.gupy.io:443/", "https://api.gupy.io", 500, Some(500), 8, 10),
        ("baseUrl: http://127.0.0.1:8080", "http://127.0.0.1:8080", 500, None, 8, 10),
        (
            "baseUrl: https://api.gupy.io:8443\nlimits: {requestsPerMinute: 9000, maxConcurrent: 99}",
            "https://api.gupy.io:8443",
            9000,
            None,
            99,
            10,
        ),
    ] {
        let resolved = Provider::resolve(&provider(&format!("{GUPY}{own}"))).unwrap();
        let profile = resolved.profile();
        assert_eq!(profile.origin, origin);
        assert_eq!(profile.requests_per_minute, requests, "{own}");
        assert_eq!(profile.preset_requests_per_minute, ceiling, "{own}");
        assert_eq!(profile.max_concurrent, concurrent, "{own}");
        assert_eq!(profile.timeout, Duration::from_secs(timeout), "{own}");
    }
}

#[test]
fn listings_are_compared_every_minute_at_most_or_never() {
    // One that is stored already and asks for more works on.
    for (interval, wanted) in [("0s", 0), ("0h0m", 0), ("1m", 60), ("61s", 61), ("59s", 60)] {
        let spec = provider(&format!("{GUPY}verifyInterval: {interval}\n"));
        let resolved = Provider::resolve(&spec).unwrap();
        assert_eq!(resolved.profile().verify_interval.as_secs(), wanted, "{interval:?}");
    }
}

#[test]
fn a_request_takes_a_minute_at_most_also_where_an_older_object_says_more() {
    for (timeout, wanted) in [("30s", 30), ("1m", 60), ("5m", 60)] {
        let spec = provider(&format!("{GUPY}limits: {{timeout: {timeout}}}\n"));
        let resolved = Provider::resolve(&spec).unwrap();
        assert_eq!(resolved.profile().timeout.as_secs(), wanted, "{timeout}");
    }
}

#[test]
fn an_operation_of_the_object_replaces_that_of_the_preset_whole() {
    let spec = provider(
        "
preset: gupy
auth: {none: {}}
overlap: 30m
verifyInterval: 0s
postback: {publicHost: false}
operations:
  create:
    method: PUT
    path: /hooks
    json: {all: '{headers}'}
    capture: {id: ''}
    settle: 7m
",
    );
    let resolved = Provider::resolve(&spec).unwrap();
    let create = resolved.create.as_ref().unwrap();
    assert_eq!(create.request.method, "PUT");
    assert_eq!(create.request.document.as_ref().unwrap().sources().len(), 1);
    assert_eq!(resolved.update.document.as_ref().unwrap().sources().len(), 6);
    assert_eq!(resolved.profile().settle, Duration::from_secs(420));
    assert_eq!(resolved.profile().overlap, Duration::from_secs(1800));
    assert_eq!(resolved.profile().verify_interval, Duration::ZERO);
    let mut spec = subscription(APPLICATION_COMPLETED);
    spec.postback_url = "https://gate.local/".to_owned();
    assert_eq!(resolved.check(&spec), Ok(()));
    spec.postback_url = "https://webhook.site/".to_owned();
    assert!(resolved.warning(&spec).is_some(), "the preset's own list stays");
}

#[test]
fn without_a_preset_the_defaults_are_cautious() {
    let spec = provider(
        "
baseUrl: https://api.example.com/v2/
auth: {none: {}}
operations:
  update: {method: PUT, path: '/hooks/{id}', json: {t: '{token}'}}
",
    );
    let resolved = Provider::resolve(&spec).unwrap();
    assert_eq!(
        *resolved.profile(),
        ProviderProfile {
            origin: "https://api.example.com".to_owned(),
            base_url: "https://api.example.com/v2".to_owned(),
            requests_per_minute: 60,
            preset_requests_per_minute: None,
            max_concurrent: 4,
            timeout: Duration::from_secs(10),
            overlap: Duration::ZERO,
            verify_interval: Duration::from_secs(3600),
            settle: Duration::from_secs(300),
            can_list: false,
            can_create: false,
            can_delete: false,
            lists_actions: true,
            lists_urls: true,
        }
    );
}
