//! Answers as token servers give them, and what is read out of them.

use super::*;
use proptest::prelude::*;

const NOW: &str = "2026-11-21T17:00:00Z";

type Read = Result<(String, Option<u64>), MintFailure>;

fn read_with(response: &TokenResponse, assumed: Option<u64>, body: impl AsRef<[u8]>) -> Read {
    let assumed = assumed.map(Duration::from_secs);
    let (token, life) = Rules::of_http(Some(response), assumed).read(body.as_ref(), NOW.parse().unwrap())?;
    Ok((token.expose().to_owned(), life.length().map(|life| life.as_secs())))
}

fn read(body: impl AsRef<[u8]>) -> Read {
    read_with(&TokenResponse::default(), None, body)
}

fn token(life: impl Into<Option<u64>>) -> Read {
    Ok(("abc".to_owned(), life.into()))
}

fn paths(token: Option<&str>, expires_in: Option<&str>, expires_at: Option<&str>) -> TokenResponse {
    TokenResponse {
        format: None,
        token_path: token.map(str::to_owned),
        expires_in_path: expires_in.map(str::to_owned),
        expires_at_path: expires_at.map(str::to_owned),
    }
}

fn is_unusable(read: Read) -> bool {
    matches!(read, Err(MintFailure::Unusable { .. }))
}

#[test]
fn answers_that_need_no_setting() {
    for (body, life) in [
        (r#"{"access_token":"abc","token_type":"Bearer","expires_in":3600}"#, Some(3600)),
        (r#"{"accessToken":"abc","expiresIn":604800,"tokenType":"Bearer"}"#, Some(604_800)),
        (r#"{"token":"abc","expiresAt":"2026-11-21T18:00:00Z"}"#, Some(3600)),
        (r#"{"token":"abc","expires_at":"2026-11-21T15:00:00-03:00"}"#, Some(3600)),
        (r#"{"token":"abc","expires_at":1795284000000}"#, Some(3600)),
        (r#"{"token":"abc","expires_in":"3600"}"#, Some(3600)),
        (r#"{"token":"abc","expires_in":9e12}"#, Some(400 * 86_400)),
        (r#"{"token":"abc","expires_in":null,"expires_at":1795284000}"#, Some(3600)),
        (r#"{"access_token":null,"token":"abc"}"#, None),
        (r#"{"token":"abc"}"#, None),
        ("\u{feff}{\"token\":\"abc\"}", None),
        (" {\"token\":\"abc\"}\r\n", None),
        // The first member that is there counts.
        (r#"{"token":"x","access_token":"abc","expiresIn":1,"expires_in":2}"#, Some(2)),
    ] {
        assert_eq!(read(body), token(life), "{body}");
    }
}

/// Azure writes the end as an epoch in one place and as a date of the country in another.
#[test]
fn an_end_under_a_loose_name_counts_where_it_can_be_read() {
    assert_eq!(read(r#"{"access_token":"abc","expires_on":"1795284000"}"#), token(3600));
    assert_eq!(read(r#"{"accessToken":"abc","expiresOn":"2026-11-21T18:00:00Z"}"#), token(3600));
    let date = r#"{"access_token":"abc","expires_on":"11/21/2026 6:00:00 PM +00:00"}"#;
    assert_eq!(read_with(&TokenResponse::default(), Some(60), date), token(60));
}

#[test]
fn a_date_in_the_place_of_seconds_is_told_as_one() {
    for (life, advice) in [
        ("\"2026-12-27T12:00:00Z\"", "a date and no number of seconds"),
        ("\"soon\"", "is no number of seconds"),
    ] {
        let failure = read(format!(r#"{{"token":"abc","expires_in":{life}}}"#)).unwrap_err().to_string();
        assert!(failure.contains(advice), "{failure}");
        assert_eq!(failure.contains("expiresAtPath"), life.contains("2026"), "{failure}");
    }
}

#[test]
fn paths_find_their_way() {
    let response = paths(Some("/data/0/a~1b"), Some("/life"), None);
    assert_eq!(read_with(&response, None, r#"{"data":[{"a/b":"abc"}],"life":60,"expires_in":1}"#), token(60));
    let response = paths(None, None, Some("/end"));
    assert_eq!(read_with(&response, None, r#"{"token":"abc","end":1795284000,"expires_in":1}"#), token(3600));
    assert_eq!(read_with(&paths(Some(""), None, None), None, r#""abc""#), token(None));
}

#[test]
fn a_path_that_finds_nothing_is_refused() {
    let body = r#"{"token":"abc","expires_in":60,"nothing":null}"#;
    for path in ["/missing", "/nothing", "/token/deeper", "no slash"] {
        for response in
            [paths(Some(path), None, None), paths(None, Some(path), None), paths(None, None, Some(path))]
        {
            assert!(is_unusable(read_with(&response, Some(9), body)), "{response:?}");
        }
    }
}

#[test]
fn a_token_that_knows_its_own_end() {
    // {"exp":1795284000}
    let jwt = "e30.eyJleHAiOjE3OTUyODQwMDB9.c2ln";
    let life = |read: Read| read.unwrap().1;
    assert_eq!(life(read(format!(r#"{{"token":"{jwt}"}}"#))), Some(3600));
    assert_eq!(life(read(format!(r#"{{"token":"{jwt}","expires_in":60}}"#))), Some(60));
    let assumed = read_with(&TokenResponse::default(), Some(9), format!(r#"{{"token":"{jwt}"}}"#));
    assert_eq!(life(assumed), Some(3600));
}

#[test]
fn the_assumed_life_is_the_last_resort() {
    let response = TokenResponse::default();
    assert_eq!(read_with(&response, Some(9), r#"{"token":"abc"}"#), token(9));
    assert_eq!(read_with(&response, Some(9), r#"{"token":"abc","expires_in":60}"#), token(60));
    assert_eq!(read_with(&response, Some(500 * 86_400), r#"{"token":"abc"}"#), token(400 * 86_400));
}

#[test]
fn the_whole_body_as_the_token() {
    let mut response = TokenResponse { format: Some(ResponseFormat::Text), ..TokenResponse::default() };
    for body in ["abc", "abc\n", " \r\nabc\r\n", "\u{feff}abc"] {
        assert_eq!(read_with(&response, Some(9), body), token(9), "{body:?}");
    }
    for body in [&b"a b"[..], b"", b"\n", b"a\x00b", b"\xff\xfe", "caf\u{e9}".as_bytes()] {
        assert!(is_unusable(read_with(&response, None, body)), "{body:?}");
    }
    response.expires_in_path = Some("/x".to_owned());
    assert!(is_unusable(read_with(&response, None, "abc")));
}

#[test]
fn a_token_that_arrives_expired_is_refused() {
    for body in [
        r#"{"token":"abc","expires_at":"2026-11-21T17:00:00Z"}"#,
        r#"{"token":"abc","expires_at":1}"#,
        // {"exp":1}
        r#"{"token":"e30.eyJleHAiOjF9.c2ln"}"#,
        r#"{"token":"e30.eyJleHAiOjF9.c2ln","expires_in":3600}"#,
        r#"{"token":"Bearer e30.eyJleHAiOjF9.c2ln","expires_in":3600}"#,
        r#"{"token":"abc","expires_in":3600,"expires_at":"2026-11-21T16:59:59Z"}"#,
    ] {
        for assumed in [None, Some(60)] {
            let read = read_with(&TokenResponse::default(), assumed, body);
            assert_eq!(read, Err(MintFailure::ExpiredOnArrival), "{body}");
        }
    }
}

#[test]
fn a_life_of_nothing_or_less_is_not_stated() {
    for (member, place) in [
        (r#""expires_in":0"#, "expires_in"),
        (r#""expires_in":"0""#, "expires_in"),
        (r#""expires_in":-1"#, "expires_in"),
        (r#""expires_in":"-1""#, "expires_in"),
        (r#""expiresIn":-0.0"#, "expiresIn"),
        (r#""expires_in":false"#, "expires_in"),
        (r#""expires_in":"""#, "expires_in"),
        (r#""expires_at":0"#, "expires_at"),
        (r#""expires_at":"-1""#, "expires_at"),
        (r#""expiresAt":"0001-01-01T00:00:00Z""#, "expiresAt"),
        (r#""expires_in":0,"expires_at":0"#, "expires_in"),
    ] {
        let body = format!(r#"{{"token":"abc",{member}}}"#);
        assert_eq!(read(&body), Err(MintFailure::NoLife { place: place.to_owned() }), "{member}");
        assert_eq!(read_with(&TokenResponse::default(), Some(60), &body), token(60), "{member}");
    }
    let in_path = paths(None, Some("/life"), None);
    let body = r#"{"token":"abc","life":0}"#;
    assert_eq!(read_with(&in_path, None, body), Err(MintFailure::NoLife { place: "/life".to_owned() }));
    assert_eq!(read_with(&in_path, Some(60), body), token(60));
    // {"exp":0}
    let jwt = r#"{"token":"e30.eyJleHAiOjB9.c2ln"}"#;
    assert!(matches!(read(jwt), Err(MintFailure::NoLife { .. })));
    // Another statement stands.
    assert_eq!(read(r#"{"token":"abc","expires_in":0,"expires_at":1795284000}"#), token(3600));
}

#[test]
fn of_several_ends_the_earliest_counts() {
    // {"exp":1795284000}
    let jwt = "e30.eyJleHAiOjE3OTUyODQwMDB9.c2ln";
    let response = TokenResponse::default();
    let life = |body: &str| {
        let rules = Rules::of_http(Some(&response), Some(Duration::from_secs(9)));
        rules.read(body.as_bytes(), NOW.parse().unwrap()).unwrap().1
    };
    let seconds = Duration::from_secs;
    for (body, expected) in [
        (
            format!(r#"{{"token":"{jwt}","expires_in":86400}}"#),
            Lifetime::Contradicted { earlier: seconds(3600), later: seconds(86_400) },
        ),
        (
            format!(r#"{{"token":"{jwt}","expires_at":"2026-11-21T17:01:00Z"}}"#),
            Lifetime::Contradicted { earlier: seconds(60), later: seconds(3600) },
        ),
        (
            r#"{"token":"abc","expires_in":3600,"expires_at":"2026-11-21T17:01:00Z"}"#.to_owned(),
            Lifetime::Contradicted { earlier: seconds(60), later: seconds(3600) },
        ),
        (format!(r#"{{"token":"{jwt}","expires_in":3590}}"#), Lifetime::Stated(seconds(3590))),
        (format!(r#"{{"token":"{jwt}","expires_in":3660}}"#), Lifetime::Stated(seconds(3600))),
        (format!(r#"{{"token":"{jwt}","expires_in":0}}"#), Lifetime::Stated(seconds(3600))),
        // A time without an offset says nothing.
        (
            r#"{"token":"abc","expires_in":3600,"expires_at":"2026-11-21 17:01:00"}"#.to_owned(),
            Lifetime::Stated(seconds(3600)),
        ),
        (r#"{"token":"abc"}"#.to_owned(), Lifetime::Assumed(seconds(9))),
    ] {
        assert_eq!(life(&body), expected, "{body}");
    }
    let both = paths(None, Some("/a"), Some("/b"));
    let body = r#"{"token":"abc","a":7200,"b":1795284000,"expires_in":1}"#;
    assert_eq!(read_with(&both, None, body), token(3600));
}

#[test]
fn an_error_in_place_of_a_token_is_told_as_one_and_not_repeated() {
    for body in [
        r#"{"error":"canary"}"#,
        r#"{"error":{"code":"canary"}}"#,
        r#"{"errors":[{"message":"canary"}],"data":null}"#,
        r#"{"ok":false,"error_code":17,"access_token":null}"#,
        r#"{"errorMessage":"canary"}"#,
        r#"{"fault":{"faultstring":"canary"}}"#,
    ] {
        assert_eq!(read(body), Err(MintFailure::Declined), "{body}");
        let elsewhere = paths(Some("/data/token"), None, None);
        assert_eq!(read_with(&elsewhere, None, body), Err(MintFailure::Declined), "{body}");
    }
    for body in [r#"{"error":null}"#, r#"{"error":"","errors":[]}"#, r#"{"error_code":0}"#] {
        assert!(is_unusable(read(body)), "{body}");
    }
    for body in [r#"{"error":"canary","token":"abc"}"#, r#"{"errors":[1],"token":"abc"}"#] {
        assert_eq!(read(body), token(None), "{body}");
    }
}

#[test]
fn a_token_may_have_its_scheme_before_it() {
    for (text, expected) in
        [("Bearer abc", "Bearer abc"), ("two words", "two words"), ("a\\tb", "a\tb"), (" abc\\r\\n", "abc")]
    {
        let (read, _) = read(format!(r#"{{"token":"{text}"}}"#)).unwrap();
        assert_eq!(read, expected);
    }
    let response = TokenResponse { format: Some(ResponseFormat::Text), ..TokenResponse::default() };
    assert_eq!(read_with(&response, None, "Bearer abc\n").unwrap().0, "Bearer abc");
    for body in ["Bearer", "Service unavailable", "<html></html>", r#"{"error":"x"}"#, "Bearer a b"] {
        assert!(is_unusable(read_with(&response, None, body)), "{body}");
    }
    // {"exp":1795284000}
    let jwt = r#"{"token":"Bearer e30.eyJleHAiOjE3OTUyODQwMDB9.c2ln"}"#;
    assert_eq!(read(jwt).unwrap().1, Some(3600));
}

#[test]
fn what_cannot_be_used_is_named_and_not_shown() {
    for body in [
        "",
        "canary",
        "null",
        "[]",
        "{}",
        "\"canary\"",
        r#"{"token":""}"#,
        r#"{"token":"Bearer "}"#,
        r#"{"token":7}"#,
        r#"{"token":{"canary":"abc"}}"#,
        r#"{"token":"canary\r\nX-Injected: 1"}"#,
        r#"{"token":"canary\u00e9"}"#,
        r#"{"token":"canary","expires_in":true}"#,
        r#"{"token":"canary","expires_in":"soon"}"#,
        r#"{"token":"canary","expires_in":NaN}"#,
        r#"{"token":"canary","expires_in":1e400}"#,
        r#"{"token":"canary","expires_in":{}}"#,
        r#"{"token":"canary","expires_at":"2026-11-21"}"#,
        r#"{"token":"canary","expires_at":1795284000000000}"#,
        r#"{"token":"canary"} trailing"#,
    ] {
        let result = read(body);
        assert!(!format!("{result:?}").contains("canary"), "{result:?}");
        assert!(is_unusable(result), "{body}");
    }
    let long = format!(r#"{{"token":"{}"}}"#, "a".repeat(MAX_TOKEN + 1));
    assert!(is_unusable(read(long)));
    assert!(is_unusable(read("[".repeat(100_000))));
    let wide = format!(r#"{{"token":"abc","more":[{}0]}}"#, r#"{"a":0},"#.repeat(100_000));
    assert!(is_unusable(read(wide)));
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(is_unusable(read(utf16)));
}

#[test]
fn the_advice_is_one_that_the_kind_of_source_can_follow() {
    for body in ["<html>", "{}", r#"{"token":7}"#, r#"{"token":"abc","expires_in":true}"#] {
        let advice =
            |rules: Rules<'_>| rules.read(body.as_bytes(), NOW.parse().unwrap()).unwrap_err().to_string();
        let of_http = advice(Rules::of_http(None, None));
        assert!(of_http.contains("set response."), "{of_http}");
        let of_oauth2 = advice(Rules::of_oauth2(None));
        assert!(
            of_oauth2.contains("check that oauth2.tokenUrl") || of_oauth2.contains("as http with"),
            "{of_oauth2}"
        );
    }
}

fn any_response() -> impl Strategy<Value = TokenResponse> {
    let path = || proptest::option::of("(/[a-z~0-9_]{0,6}){0,2}|/token|/expires_in");
    (any::<bool>(), path(), path(), path()).prop_map(|(text, token, expires_in, expires_at)| TokenResponse {
        format: text.then_some(ResponseFormat::Text),
        token_path: token,
        expires_in_path: expires_in,
        expires_at_path: expires_at,
    })
}

proptest! {
    #[test]
    fn reading_is_total(response in any_response(), body: Vec<u8>) {
        let _ = read_with(&response, None, body);
    }

    #[test]
    fn reading_is_total_for_what_looks_like_an_answer(
        response in any_response(),
        token in "\\PC{0,20}",
        name in "expires_in|expiresIn|expires_at|expiresAt",
        number in prop_oneof![
            any::<f64>().prop_map(|number| number.to_string()),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<u64>().prop_map(|number| format!("\"{number}\"")),
            "\\PC{0,10}",
        ],
    ) {
        let token = serde_json::to_string(&token).unwrap();
        let body = format!(r#"{{"token":{token},"{name}":{number}}}"#);
        if let Ok((token, life)) = read_with(&response, None, body) {
            let legal = |byte: u8| byte.is_ascii_graphic() || b" \t".contains(&byte);
            prop_assert!(!token.is_empty() && token.bytes().all(legal));
            prop_assert!(life.is_none_or(|life| life <= crate::rotation::life::LONGEST_LIFETIME.as_secs()));
        }
    }
}
