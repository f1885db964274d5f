//! What a failing command says: each thing once, in one line, and nothing of what a file holds.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use regex::Regex;

use super::modules::sources;
use super::process::Program;
use super::{hookkeeper, run};

const CANARY: &str = "k3y-c4n4ry";

/// Nothing of it is said twice: neither a whole cause nor a sentence.
fn assert_told_once(text: &str) {
    let mut said = BTreeSet::new();
    for part in text.split([':', ';', '(', ')', '\n']).map(str::trim) {
        assert!(part.len() < 10 || said.insert(part), "`{part}` is said twice: {text}");
    }
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: a
contexts: [{{name: a, context: {{cluster: a, user: a}}}}]
users: [{{name: a, user: {{token: {CANARY}}}}}]
clusters: [{{name: a, cluster: {{server: \"{server}\"}}}}]
"
    )
}

/// A controller whose kubeconfig is this file, and which no pod's environment helps.
fn controller(kubeconfig: &Path) -> Program {
    let mut program = hookkeeper();
    program.args(["controller", "--admin-listen", "off", "--lease-namespace", "default"]);
    program.env("KUBECONFIG", kubeconfig.to_str().unwrap());
    program.env_remove("KUBERNETES_SERVICE_HOST").env_remove("HTTPS_PROXY").env_remove("https_proxy");
    program
}

/// Its exit code is 1 and its error one line, which says these things once.
fn assert_fails(program: &mut Program, parts: &[&str]) {
    let ended = program.run();
    let line = ended.stderr.lines().last().unwrap_or_default();
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
    assert!(line.starts_with("hookkeeper: "), "{line}");
    for part in parts {
        assert!(line.contains(part), "{part} is not in: {line}");
    }
    assert!(!line.contains(CANARY), "{line}");
    assert_told_once(line);
}

#[test]
fn an_error_is_one_line_that_says_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let missing = "No such file or directory (os error 2)";
    let nowhere = path("nowhere").display().to_string();
    let nowhere = nowhere.as_str();
    assert_fails(
        &mut controller(&path("nowhere")),
        &["no cluster is known", &format!("{nowhere} cannot be read: {missing}"), "set KUBECONFIG"],
    );
    for broken in [format!("token: {CANARY}\n  a: ["), format!("clusters: {CANARY}"), format!("[{CANARY}")] {
        fs::write(path("broken"), broken).unwrap();
        assert_fails(&mut controller(&path("broken")), &["it is no valid kubeconfig (line "]);
    }
    fs::write(path("good"), kubeconfig("https://127.0.0.1:1")).unwrap();
    assert_fails(controller(&path("good")).args(["--context", "b"]), &["the kubeconfig cannot be used", "b"]);
    fs::write(
        path("certificate"),
        kubeconfig(&format!("https://127.0.0.1:1\", certificate-authority: \"{nowhere}")),
    )
    .unwrap();
    assert_fails(&mut controller(&path("certificate")), &[nowhere, missing]);
    let socks = format!("socks9://user:{CANARY}@127.0.0.1:1");
    assert_fails(controller(&path("good")).env("HTTPS_PROXY", &socks), &["HTTPS_PROXY", "http://HOST:PORT"]);

    let sidecar = |manifests: &str, state: &Path| {
        let mut program = hookkeeper();
        program.args(["sidecar", "--admin-listen", "off", "--manifests", manifests, "--state"]).arg(state);
        program
    };
    assert_fails(&mut sidecar(nowhere, &path("state.json")), &[nowhere, missing]);
    fs::write(path("damaged.json"), "{").unwrap();
    assert_fails(&mut sidecar("src", &path("damaged.json")), &["damaged.json is damaged"]);
    assert_fails(&mut sidecar("src", &path("good/state.json")), &["good/state.json"]);
    for (option, role) in
        [("--ca-file", "the CA file"), ("--proxy-credentials-file", "the proxy's credentials")]
    {
        let mut program = sidecar("src", &path("state.json"));
        program.args(["--proxy", "http://127.0.0.1:1", option, nowhere]);
        assert_fails(&mut program, &[role, nowhere, missing]);
    }
    fs::write(path("ca.pem"), CANARY).unwrap();
    let mut program = controller(&path("good"));
    program.arg("--ca-file").arg(path("ca.pem"));
    assert_fails(&mut program, &["ca.pem holds no certificate"]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_fails(
        hookkeeper().args(["sandbox", "--listen", &address]),
        &["the sandbox cannot start", &address],
    );
    let mut program = controller(&path("good"));
    program.replace("--admin-listen", &address).args(["--log-level", "error"]);
    assert_fails(&mut program, &["the admin server cannot listen", &address]);
    assert_fails(hookkeeper().args(["sandbox", "--listen", "127.0.0.1:0", "--write", "Cargo.toml/x"]), &[]);
    drop(taken);
    assert_fails(
        hookkeeper().args(["health", "--url", &format!("http://{address}")]),
        &["Connection refused"],
    );
    assert_fails(hookkeeper().args(["crds", "--write", "Cargo.toml/x"]), &["Cargo.toml/x"]);
}

#[test]
fn a_finding_says_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.yaml");
    for text in ["kind: [", "a: b: c", "kind: TokenSource\nspec: {secret: {nmae: a}}"] {
        fs::write(&file, text).unwrap();
        let found = run(&["check", file.to_str().unwrap()]);
        assert_eq!(found.code, Some(1), "{}", found.stdout);
        found.stdout.lines().for_each(assert_told_once);
    }
}

/// Whoever prints an error with its causes would print such a cause twice.
#[test]
fn a_cause_stands_in_the_text_or_in_the_source_of_an_error() {
    let twice = Regex::new(
        r#"(?s)#\[error\("[^"]*\{(0|source)[^"]*"[^\]]*\)\]\s*\w+\s*[({][^)}]*(#\[(from|source)\]|\bsource:)"#,
    )
    .unwrap();
    assert!(twice.is_match("#[error(\"cannot: {0}\")]\nUnknown(#[from] io::Error),"));
    assert!(twice.is_match("#[error(\"cannot at {address}: {source}\")]\nListen { source: io::Error },"));
    for source in sources("") {
        let found = twice.find(&source.code).map(|found| found.as_str().to_owned());
        assert_eq!(found, None, "src/{}", source.path);
    }
}

/// What the log says of an API server that is not there, or not the one it should be.
#[test]
fn a_lost_api_server_is_told_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // It accepts, and says nothing that TLS knows.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = plain.accept() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    for (server, cause) in [(closed, "Connection refused"), (address, "received corrupt message")] {
        let path = folder.path().join(server.port().to_string());
        fs::write(&path, kubeconfig(&format!("https://{server}"))).unwrap();
        let process = controller(&path).spawn();
        let begun = std::time::Instant::now();
        let line = loop {
            let log = process.log();
            let found = log.lines().find(|line| line.contains(cause) && line.contains("WARN"));
            if let Some(line) = found {
                break line.to_owned();
            }
            assert!(begun.elapsed() < super::process::PATIENCE, "{log}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        let (_, said) = line.split_once("WARN").unwrap();
        assert_told_once(said);
        process.kill();
    }
}

#[test]
fn a_proxy_with_a_password_is_refused_and_not_repeated() {
    let url = format!("http://user:{CANARY}@127.0.0.1:3128");
    for command in ["controller", "sidecar"] {
        let mut program = hookkeeper();
        program.args([command, "--proxy", &url]);
        if command == "sidecar" {
            program.args(["--manifests", "src", "--state", "state.json"]);
        }
        let ended = program.run();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
        assert!(ended.stderr.contains("--proxy-credentials-file"), "{}", ended.stderr);
        assert!(!ended.stderr.contains(CANARY), "{}", ended.stderr);
    }
}
