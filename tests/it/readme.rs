//! What the README shows is what the program takes.

use std::collections::BTreeSet;
use std::fs;

use hookkeeper::gate::refusal::Refusal;
use regex::Regex;

use super::{in_repository, run};

/// The blocks of one language, with the line each begins at.
pub(super) fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let content: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
        if info.trim() == language {
            blocks.push((number + 1, content.join("\n") + "\n"));
        }
    }
    blocks
}

#[test]
fn every_yaml_block_passes_the_check() {
    let readme = fs::read_to_string(in_repository("README.md")).unwrap();
    let blocks = blocks(&readme, "yaml");
    assert!(blocks.len() >= 3, "{} blocks", blocks.len());
    let folder = tempfile::tempdir().unwrap();
    for (line, block) in &blocks {
        let file = folder.path().join(format!("line-{line}.yaml"));
        fs::write(&file, block).unwrap();
        let ended = run(&["check", file.to_str().unwrap()]);
        assert_eq!(ended.code, Some(0), "README.md:{line}\n{}", ended.stdout);
        assert!(ended.stderr.is_empty(), "{}", ended.stderr);
    }
    // A reader copies them into one folder: nothing may be missing or said twice.
    let ended = run(&["check", folder.path().to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert!(ended.stdout.contains(", 0 problems, 0 warnings"), "{}", ended.stdout);
}

#[test]
fn links_into_the_repository_lead_somewhere() {
    let readme = fs::read_to_string(in_repository("README.md")).unwrap();
    let targets: Vec<&str> = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .collect();
    assert!(!targets.is_empty());
    for target in targets {
        let path = target.split('#').next().unwrap();
        assert!(in_repository(path).exists(), "{target}");
    }
}

/// A file that is moved or split takes its place in the guides along.
#[test]
fn files_that_the_guides_name_exist() {
    let named = Regex::new(r"[`(]((?:src|tests|crds|charts|deploy)/[\w./-]*)[`)]").unwrap();
    for guide in ["CONTRIBUTING.md", "src/lib.rs"] {
        let text = fs::read_to_string(in_repository(guide)).unwrap();
        let paths: BTreeSet<&str> =
            named.captures_iter(&text).map(|path| path.get(1).unwrap().as_str()).collect();
        assert!(paths.len() > 20, "{guide}: {paths:?}");
        for path in paths.into_iter().filter(|path| !path.contains("NAME")) {
            assert!(in_repository(path).exists(), "{guide} names {path}");
        }
    }
}

#[test]
fn options_that_it_names_exist() {
    let readme = fs::read_to_string(in_repository("README.md")).unwrap();
    for command in [
        "controller",
        "sidecar",
        "gate",
        "sandbox",
        "health",
        "demo",
        "deliveries list",
        "deliveries show",
        "deliveries replay",
        "deliveries drop",
        "deliveries expected",
        "deliveries ask-again",
    ] {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = run(&words).stdout;
        for (line, block) in blocks(&readme, "sh") {
            for shown in block
                .replace("\\\n", " ")
                .lines()
                .filter(|line| line.contains(&format!("hookkeeper {command} ")))
            {
                for option in shown.split_whitespace().filter(|word| word.starts_with("--")) {
                    assert!(help.contains(option), "README.md:{line}: {command} {option}");
                }
            }
        }
    }
}

#[test]
fn options_in_the_tables_of_the_operator_and_the_sidecar_exist() {
    let readme = fs::read_to_string(in_repository("README.md")).unwrap();
    for (section, command) in [("the operator", "controller"), ("the sidecar", "sidecar")] {
        let (_, rest) = readme.split_once(&format!("\n## Running it: {section}\n")).unwrap();
        let text = rest.split("\n## ").next().unwrap();
        let help = run(&[command, "--help"]).stdout;
        let rows = text.lines().filter(|line| line.starts_with("| `-"));
        let first_cells = rows.filter_map(|row| row.split(" | ").next());
        let words = first_cells.flat_map(|cell| cell.split(|c: char| c.is_whitespace() || "`,|".contains(c)));
        let names: Vec<&str> = words.filter(|word| word.starts_with("--")).collect();
        assert!(names.len() > 5, "{names:?}");
        for name in names {
            assert!(help.contains(&format!("{name} ")) || help.contains(&format!("{name}\n")), "{name}");
        }
    }
}

/// The text of one section.
fn section<'a>(readme: &'a str, heading: &str) -> &'a str {
    let (_, rest) = readme.split_once(&format!("\n{heading}\n")).unwrap();
    let level = heading.split(' ').next().unwrap();
    rest.split(&format!("\n{level} ")).next().unwrap()
}

#[test]
fn options_that_it_names_about_receiving_exist() {
    let readme = fs::read_to_string(in_repository("README.md")).unwrap();
    let text = section(&readme, "## Receiving: the gate");
    let commands: [&[&str]; 5] = [
        &["gate"],
        &["sidecar"],
        &["deliveries", "list"],
        &["deliveries", "show"],
        &["deliveries", "replay"],
    ];
    let help = commands.map(|command| run(&[command, &["--help"]].concat()).stdout).concat();
    // What is set in code and begins as an option does.
    let named = Regex::new(r"`[^`\n]*?(--[a-z][a-z-]+)").unwrap();
    let names: BTreeSet<&str> =
        named.captures_iter(text).map(|named| named.get(1).unwrap().as_str()).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(help.contains(&format!("{name} ")) || help.contains(&format!("{name}\n")), "{name}");
    }
}

#[test]
fn every_answer_to_a_platform_is_in_its_table() {
    let readme = fs::read_to_string(in_repository("README.md")).unwrap();
    let text = section(&readme, "### What the platform is answered");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| answer "));
    let first_cells = rows.filter_map(|row| row.split(" | ").next());
    let answered: BTreeSet<u16> = first_cells
        .flat_map(|cell| cell.split(|c: char| !c.is_ascii_digit()))
        .filter_map(|word| word.parse().ok())
        .filter(|status| *status >= 400)
        .collect();
    let refusals = Refusal::ALL.iter().map(|refusal| refusal.status());
    // No receiver has the path; the head is too large; `Direct` passes on what it cannot understand.
    let expected: BTreeSet<u16> = refusals.chain([404, 414, 431, 502]).collect();
    assert_eq!(answered, expected);
}
