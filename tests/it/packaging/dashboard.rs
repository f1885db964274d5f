//! The dashboard for Grafana: what it asks for is PromQL, and each panel says what it shows.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::super::in_repository;
use super::exported::gate_with_deliveries_of_all_kinds;
use super::promtool;

static VARIABLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\$\{?(\w+)\}?").unwrap());

fn dashboard() -> Value {
    let text = fs::read_to_string(in_repository("charts/hookkeeper/files/dashboard.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a Vec<Value> {
    value[field].as_array().unwrap_or_else(|| panic!("no {field} in {value}"))
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    list(dashboard, "panels").iter().filter(|panel| panel["type"] != "row").collect()
}

/// The expression of each query, and of each list of a variable's values.
pub fn expressions() -> Vec<String> {
    let dashboard = dashboard();
    let of_panels = panels(&dashboard).into_iter().flat_map(|panel| list(panel, "targets").clone());
    let of_panels = of_panels.map(|target| target["expr"].as_str().unwrap().to_owned());
    let definitions = list(&dashboard["templating"], "list").iter();
    let of_variables = definitions.filter_map(|variable| {
        let asked = variable["definition"].as_str()?.strip_prefix("label_values(")?.strip_suffix(')')?;
        let (selector, label) = asked.rsplit_once(',')?;
        Some(format!("count by ({}) ({selector})", label.trim()))
    });
    of_panels.chain(of_variables).collect()
}

#[test]
fn promtool_accepts_what_it_asks_for() {
    let fill = |expression: &String| {
        let filled = expression.replace("$__rate_interval", "5m").replace("$__range", "1d");
        VARIABLE.replace_all(&filled, ".*").into_owned()
    };
    let rules: Vec<Value> = expressions()
        .iter()
        .enumerate()
        .map(|(number, expression)| json!({"record": format!("panel:{number}"), "expr": fill(expression)}))
        .collect();
    assert!(rules.len() > 30, "{}", rules.len());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
}

#[test]
fn each_panel_has_an_id_a_description_a_unit_and_a_place_of_its_own() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    for panel in list(&dashboard, "panels") {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{} twice", panel["id"]);
    }
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
        let of_target = list(panel, "targets").iter().map(|target| &target["datasource"]);
        for datasource in of_target.chain([&panel["datasource"]]) {
            assert_eq!(datasource["uid"], "${datasource}", "{title}");
        }
        let at = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && taken.insert((x, y)), "{title} lies on another, or outside");
            }
        }
    }
}

#[test]
fn its_variables_are_defined() {
    let dashboard = dashboard();
    let variables = list(&dashboard["templating"], "list");
    let defined: BTreeSet<&str> =
        variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(defined, BTreeSet::from(["datasource", "instance", "job", "namespace", "receiver"]));
    let of_grafana = ["__rate_interval", "__range"];
    for expression in expressions() {
        for used in VARIABLE.captures_iter(&expression) {
            assert!(
                defined.contains(&used[1]) || of_grafana.contains(&&used[1]),
                "{} in {expression}",
                &used[1]
            );
        }
    }
}

/// What the panel "Account" and the README say of the metrics: whatever was taken in is somewhere.
#[tokio::test(flavor = "multi_thread")]
async fn the_account_of_deliveries_closes() {
    let dashboard = dashboard();
    let account = panels(&dashboard).into_iter().find(|panel| panel["title"] == "Account").unwrap();
    let (stage, gate) = gate_with_deliveries_of_all_kinds().await;
    let of_platform = |expression: &str| {
        let name = &expression[expression.find("hookkeeper_").unwrap()..];
        let (name, matchers) = name.split_once('{').unwrap();
        let action = matchers.split_once("action=").map(|(_, action)| action.trim_end_matches(['}', ')']));
        let more = action.map_or_else(String::new, |action| format!(",action={action}"));
        gate.metric(&format!("{name}{{receiver=\"default/platform\"{more}}}"))
    };
    let row = || -> Vec<f64> {
        let targets = list(account, "targets").iter();
        targets.map(|target| of_platform(target["expr"].as_str().unwrap())).collect()
    };
    // Accepted; test events, left out, dropped, handed on, wait, parked.
    gate.until("what is in the store is shown", || row() == [6.0, 1.0, 1.0, 1.0, 2.0, 0.0, 1.0]).await;
    gate.stop();
    drop(stage);
}
