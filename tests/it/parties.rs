//! The page of the parties that are not trusted: each row names tests, and they exist.

use std::fs;
use std::path::PathBuf;

use regex::Regex;

use super::in_repository;

/// The rows of all tables, by their cells.
fn rows(page: &str) -> Vec<Vec<String>> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| may |"));
    rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The tests that a cell names.
fn named(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Where a module may be written, with or without a file of its own for its tests.
fn places(module: &[&str]) -> Vec<PathBuf> {
    let mut paths = vec![module.join("/")];
    if let [above @ .., "tests"] = module {
        paths.extend([above.join("/"), format!("{}_tests", above.join("/"))]);
    }
    let mut places = Vec::new();
    for root in ["src", "tests/it"].map(in_repository) {
        for path in &paths {
            places.extend([root.join(format!("{path}.rs")), root.join(path).join("mod.rs")]);
        }
    }
    places
}

/// Whether there is a test of that name, as `cargo test -- --list` would print it.
fn exists(test: &str) -> bool {
    let segments: Vec<&str> = test.split("::").collect();
    let Some((name, module)) = segments.split_last() else {
        return false;
    };
    let written =
        format!(r"#\[(tokio::)?test[^\n]*\]\n(\s*#\[[^\n]*\]\n)*\s*(async )?fn {}\(", regex::escape(name));
    let written = Regex::new(&written).unwrap();
    let sources = places(module).into_iter().filter_map(|path| fs::read_to_string(path).ok());
    !module.is_empty() && sources.into_iter().any(|source| written.is_match(&source))
}

#[test]
fn every_row_of_the_page_names_tests_that_exist() {
    let page = fs::read_to_string(in_repository("deploy/security.md")).unwrap();
    let rows = rows(&page);
    assert!(rows.len() > 10, "{rows:#?}");
    for row in &rows {
        assert_eq!(row.len(), 3, "{row:?}");
        let tests = named(&row[2]);
        assert!(!tests.is_empty(), "no test: {row:?}");
        let missing: Vec<_> = tests.into_iter().filter(|test| !exists(test)).collect();
        assert!(missing.is_empty(), "there is no test {missing:?}");
    }
}

#[test]
fn every_test_with_two_authors_is_on_the_page() {
    let page = fs::read_to_string(in_repository("deploy/security.md")).unwrap();
    let written = Regex::new(r"#\[tokio::test[^\n]*\]\nasync fn (\w+)\(").unwrap();
    let mut files: Vec<PathBuf> = vec![in_repository("tests/it/hostile/neighbours.rs")];
    let folder = fs::read_dir(in_repository("tests/it/scenarios/authors")).unwrap();
    files.extend(folder.map(|entry| entry.unwrap().path()));
    for file in files {
        for test in written.captures_iter(&fs::read_to_string(&file).unwrap()) {
            assert!(
                page.contains(&format!("::{}`", &test[1])),
                "{}: {} is not on it",
                file.display(),
                &test[1]
            );
        }
    }
}

#[test]
fn a_test_that_is_made_up_is_missed() {
    assert!(exists("parties::a_test_that_is_made_up_is_missed"));
    assert!(exists("engine::queue::line::tests::a_probe_is_somebody_else_each_time"));
    for made_up in
        ["parties::a_test_that", "parties::exists", "a_test_that_is_made_up_is_missed", "other::exists", ""]
    {
        assert!(!exists(made_up), "{made_up}");
    }
}
