//! What each statement may cost: found by an index, however many rows there are, and however long ago the server
//! has counted them.

use super::*;
use crate::store::postgres::{asking, loading, reading, resealing, tidying, writing};

/// The plan of a statement, as a session of a store has it.
fn plan(base: &Base<'_>, sql: &str, values: &str) -> String {
    plan_as(base, "force_generic_plan", sql, values)
}

fn plan_as(base: &Base<'_>, mode: &str, sql: &str, values: &str) -> String {
    base.sql(&format!(
        "SET search_path TO hookkeeper; SET enable_seqscan TO off; SET enable_bitmapscan TO off;
         SET plan_cache_mode TO {mode}; PREPARE it AS {sql}; EXPLAIN EXECUTE it {values}"
    ))
}

/// A whole key is looked up, and not all keys of its receiver: thousands of them for each delivery.
#[tokio::test]
async fn a_key_is_found_by_its_name_whether_the_server_has_counted_them_or_not() {
    let base = Base::new(None);
    base.store().await;
    // With some 200 that are counted, the server finds both indexes equally good.
    for (rows, counted) in [(5, false), (5, true), (200, true), (5_000, false), (5_000, true)] {
        base.sql(&format!(
            "TRUNCATE hookkeeper.keys;
             INSERT INTO hookkeeper.keys SELECT 1, decode(lpad(to_hex(n), 64, '0'), 'hex'), '', '', n
             FROM generate_series(1, {rows}) n"
        ));
        if counted {
            base.sql("ANALYZE hookkeeper.keys");
        }
        for mode in ["force_generic_plan", "force_custom_plan"] {
            for (name, sql, values) in [
                ("take", reading::TAKE, "('u', 1, '{0}', 9, '{1}', 1, 1, NULL)"),
                ("keys", loading::KEYS, "('{1}', '{a}', '{a}', '{a}', '{a}', '{1}')"),
                ("rows", loading::ROWS, "('{a}', '{1}', '{a}', '{a}')"),
            ] {
                let plan = plan_as(&base, mode, sql, values);
                let is_named = plan.contains("keys_pkey") && !plan.contains("keys_by_expiry");
                assert!(is_named, "{name}, {mode}, {rows} rows, counted: {counted}: {plan}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_due_is_found_by_an_index_and_not_sorted() {
    let base = Base::new(None);
    base.store().await;
    for (name, sql, values, index) in [
        ("take", reading::TAKE, "('u', 1, '{0}', 9, '{1}', 1, 1, NULL)", "deliveries_due"),
        ("next due", reading::NEXT_DUE, "('u', '{0}', 1)", "deliveries_due"),
        ("usage", reading::USAGE, "", "deliveries_of_receiver"),
        ("page", reading::PAGE, "('', 9)", "deliveries_pkey"),
        (
            "page of receivers",
            reading::PAGE_OF_RECEIVERS,
            "('', 9, '{0}', 'a', NULL)",
            "deliveries_of_receiver",
        ),
        ("lock", loading::LOCK, "('{u}', '{a}')", "deliveries_pkey"),
        ("keys", loading::KEYS, "('{1}', '{a}', '{a}', '{a}', '{a}', '{1}')", "keys_pkey"),
        ("rows", loading::ROWS, "('{a}', '{1}', '{a}', '{a}')", "deliveries_pkey"),
        ("expired", tidying::LOCK_EXPIRED, "(1, 9)", "keys_by_expiry"),
        ("forget keys", tidying::FORGET_KEYS, "('{1}', 1, 9)", "keys_by_expiry"),
        ("asking", asking::DUE, "('u', 1, 1, 9, 1, 1, '{0}')", "expectations_due"),
        ("expectations", asking::LIST, "('{t}', 9, NULL, NULL)", "expectations_due"),
        ("resealing", resealing::DELIVERIES, "(1, '', 9)", "bodies_by_seal"),
        ("resealing expectations", resealing::EXPECTATIONS, "(1, 1, '', 9)", "expectations_by_seal"),
    ] {
        let plan = plan(&base, sql, values);
        assert!(plan.contains(index), "{name}: {plan}");
        // Of receivers there are few.
        let scans = plan.lines().find(|line| line.contains("Seq Scan on") && !line.contains("receivers"));
        assert_eq!(scans.filter(|scan| !scan.contains("Seq Scan on store")), None, "{name}: {plan}");
    }
    // What is under way stands before the first one that is free: no more than that is looked at.
    for (rows, counted) in [(0, false), (5, true), (500, true), (500, false), (20_000, true)] {
        base.sql(&format!(
            "TRUNCATE hookkeeper.deliveries; TRUNCATE hookkeeper.bodies;
             INSERT INTO hookkeeper.deliveries (id, receiver, state, arrived, due, since, size, event, body_digest,
                 key_expires)
             SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), 1, 0, n, n, n, 0, '', '', n
             FROM generate_series(1, {rows}) n"
        ));
        if counted {
            base.sql("ANALYZE hookkeeper.deliveries");
        }
        let plan = plan(&base, reading::NEXT_DUE, "('u', '{0}', 1)");
        let is_bounded = !plan.contains("deliveries_of_receiver") && !plan.contains("Sort");
        assert!(is_bounded, "{rows} rows, counted: {counted}: {plan}");
    }
    // What comes first in its index is taken first, without looking at the rest.
    let plan = plan(&base, reading::TAKE, "('u', 1, '{0}', 9, '{1}', 1, 1, NULL)");
    let due = plan.split("CTE due").nth(1).unwrap().split("CTE ").next().unwrap();
    assert!(!due.contains("Sort"), "{plan}");
}

/// A server that counted the tables when next to nothing was in them believes so for a minute, and all indexes are
/// equally good to it. A row is looked up all the same, and no index is gone through.
#[tokio::test]
async fn a_row_is_looked_up_although_the_server_takes_the_tables_for_empty() {
    let base = Base::new(None);
    base.store().await;
    let fill = |from: u32, to: u32| {
        base.sql(&format!(
            "INSERT INTO hookkeeper.deliveries (id, receiver, state, arrived, due, since, size, event, body_digest,
                 key_expires)
             SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), 1, 0, n, n, n, 0, decode(lpad(to_hex(n), 64, '0'), 'hex'),
                 '', n FROM generate_series({from}, {to}) n;
             INSERT INTO hookkeeper.bodies (id, seal, body)
             SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), 0, '' FROM generate_series({from}, {to}) n;
             INSERT INTO hookkeeper.keys
             SELECT 1, decode(lpad(to_hex(n), 64, '0'), 'hex'), '', decode(lpad(to_hex(n), 32, '0'), 'hex'), n
             FROM generate_series({from}, {to}) n"
        ))
    };
    base.sql("INSERT INTO hookkeeper.receivers (uid, namespace, name) VALUES ('u', 'a', 'one')");
    fill(1, 5_000);
    // The last one holds the pages of all of them.
    base.sql(
        "DELETE FROM hookkeeper.deliveries WHERE arrived < 5000; DELETE FROM hookkeeper.keys WHERE expires < 5000;
         DELETE FROM hookkeeper.bodies WHERE id < decode(lpad(to_hex(5000), 32, '0'), 'hex')",
    );
    for table in ["receivers", "deliveries", "bodies", "keys"] {
        base.sql(&format!("VACUUM ANALYZE hookkeeper.{table}"));
    }
    fill(5_001, 10_000);
    let (id, event) = (format!(r"{{\\x{:032x}}}", 7777), format!(r"{{\\x{:064x}}}", 7777));
    for (name, sql, values) in [
        ("take", reading::TAKE, "('u', 9000, '{0}', 1, '{1}', 1, 1, NULL)".to_owned()),
        ("next due", reading::NEXT_DUE, "('u', '{0}', 1)".to_owned()),
        ("lock", loading::LOCK, format!("('{{u}}', '{id}')")),
        ("keys", loading::KEYS, format!("('{{1}}', '{event}', '{{\"\"}}', '{id}', '{{}}', '{{}}')")),
        ("rows", loading::ROWS, format!("('{id}', '{{1}}', '{event}', '{{\"\"}}')")),
        (
            "change",
            writing::CHANGE_ROWS,
            format!("('{id}', '{{1}}', '{{0}}', '{{1}}', '{{1}}', '{{1}}', '{{1}}', '{{1}}', '{{a}}')"),
        ),
        ("delete a row", writing::DELETE_ROWS, format!("('{id}')")),
        ("delete a body", writing::DELETE_BODIES, format!("('{id}')")),
    ] {
        let plan = base.sql(&format!(
            "SET search_path TO hookkeeper; SET enable_seqscan TO off; SET enable_bitmapscan TO off;
             SET plan_cache_mode TO force_generic_plan; PREPARE it AS {sql};
             EXPLAIN (ANALYZE, BUFFERS) EXECUTE it {values}"
        ));
        let read = plan.split("shared hit=").nth(1).unwrap().split_whitespace().next().unwrap();
        assert!(read.parse::<u32>().unwrap() <= 40, "{name}: {plan}");
    }
}

#[tokio::test]
async fn the_oldest_keys_go_when_a_receiver_has_too_many() {
    use crate::store::suite::{at, delivery};
    let base = Base::new(None);
    let store = PostgresStore::open(PostgresOptions { most_keys: 3, ..base.options() }).await.unwrap();
    for number in 0..5 {
        let mut sent = delivery(number);
        sent.arrived = at(i64::from(number));
        store.put(sent).await.unwrap();
        let shortened = store.usage().await.unwrap()[0].window_shortened_until;
        assert_eq!(shortened.is_some(), number >= 3, "{number}");
    }
    assert_eq!((base.count("keys"), base.count("deliveries")), (3, 5));
    assert_eq!(store.usage().await.unwrap()[0].window_shortened_until, Some(at(3601)));
    let counted: u64 = base.sql("SELECT keys FROM hookkeeper.receivers").parse().unwrap();
    assert_eq!(counted, 3);
}
