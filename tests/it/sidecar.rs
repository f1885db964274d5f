//! The sidecar as a process of its own against the sandbox: it creates, rotates, survives being
//! killed, and ends well.

use std::time::Duration;

use hookkeeper::sandbox::{Fault, Target};

use super::in_repository;
use super::trial::Trial;

#[tokio::test(flavor = "multi_thread")]
async fn it_creates_rotates_ends_well_and_goes_on_where_it_was() {
    let trial = Trial::start(Duration::from_secs(6), 6).await;
    let sidecar = trial.sidecar();
    trial.until(&sidecar, "two rotations of each", |sandbox| sandbox.ledger().rotations >= 12).await;
    assert_eq!(sidecar.stop(), Some(0));
    let before = trial.sandbox.ledger();
    let sidecar = trial.sidecar();
    trial
        .until(&sidecar, "a rotation after the restart", |sandbox| {
            sandbox.ledger().rotations >= before.rotations + 6
        })
        .await;
    assert_eq!(sidecar.stop(), Some(0));
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.doubled, ledger.surplus_updates), (6, 0, 0), "{ledger:#?}");
    assert_eq!((ledger.late, ledger.deliveries_refused), (0, 0), "{ledger:#?}");
    assert_eq!(ledger.rotations + ledger.creates, ledger.mints * 6, "one call for each member and mint");
}

/// Tokens live far longer than a killed process is away, so whatever is late is the engine's fault.
#[tokio::test(flavor = "multi_thread")]
async fn it_survives_being_killed_at_any_moment() {
    let trial = Trial::start(Duration::from_secs(16), 4).await;
    trial.short_settling();
    let slow = Fault { delay_ms: 30, ..Fault::at(Target::Create) };
    trial.sandbox.faults().add(slow).unwrap();
    // Moments that differ by some milliseconds: start, reading, listing, minting, creating, recording.
    for killed_after in (10..=250).step_by(20) {
        let sidecar = trial.sidecar();
        tokio::time::sleep(Duration::from_millis(killed_after)).await;
        sidecar.kill();
    }
    let sidecar = trial.sidecar();
    trial
        .until(&sidecar, "everything created and rotated", |sandbox| {
            let ledger = sandbox.ledger();
            ledger.webhooks == 4 && ledger.rotations >= 8 && ledger.late_now == 0
        })
        .await;
    let before = trial.sandbox.ledger();
    assert_eq!((before.doubled, before.webhooks), (0, 4), "{before:#?}\n{}", sidecar.log());
    // Once all is in place, being killed and started again at any moment makes nothing late.
    sidecar.kill();
    for killed_after in (100..=1_900).step_by(300) {
        let sidecar = trial.sidecar();
        tokio::time::sleep(Duration::from_millis(killed_after)).await;
        sidecar.kill();
    }
    let sidecar = trial.sidecar();
    trial
        .until(&sidecar, "rotations after that", |sandbox| sandbox.ledger().rotations >= before.rotations + 4)
        .await;
    let after = trial.sandbox.ledger();
    assert_eq!(
        (after.doubled, after.webhooks, after.late - before.late),
        (0, 4, 0),
        "{after:#?}\n{}",
        sidecar.log()
    );
}

/// Of two Secrets that are one variable, one could be sent where only the other may go.
#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_start_where_two_secrets_are_one_variable_or_one_file() {
    let trial = Trial::start(Duration::from_secs(60), 1).await;
    let source = |name: &str, secret: &str, key: &str| {
        format!(
            "apiVersion: hookkeeper.dev/v1alpha1\nkind: TokenSource\nmetadata: {{name: {name}, namespace: {name}}}\n\
             spec: {{secret: {{name: {secret}, key: {key}}}}}\n---\n"
        )
    };
    let both = source("honest", "payroll.api", "token") + &source("other", "payroll", "api.token");
    std::fs::write(trial.manifests().join("both.yaml"), both).unwrap();
    let of_both = "key api.token of Secret payroll and key token of Secret payroll.api are both the";
    let end = "rename one of them, or give both as files SECRET/KEY below --secrets-dir; otherwise one of them could be \
               sent where only the other one may go";

    let ended = trial.program().env("HOOKKEEPER_SECRET_PAYROLL_API_TOKEN", "x").run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let said = format!("{of_both} variable HOOKKEEPER_SECRET_PAYROLL_API_TOKEN; {end}");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);

    let secrets = trial.folder().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    std::fs::write(secrets.join("payroll.api.token"), "x").unwrap();
    let ended = trial.program().arg("--secrets-dir").arg(&secrets).run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let said = format!("{of_both} file payroll.api.token; {end}");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);

    // As files of their own they are two, and without the variable there is nothing to mistake.
    std::fs::remove_file(secrets.join("payroll.api.token")).unwrap();
    for (secret, key) in [("payroll.api", "token"), ("payroll", "api.token")] {
        std::fs::create_dir(secrets.join(secret)).unwrap();
        std::fs::write(secrets.join(secret).join(key), "x").unwrap();
    }
    let mut program = trial.program();
    let sidecar = program.arg("--secrets-dir").arg(&secrets).spawn();
    trial.until(&sidecar, "the webhook", |sandbox| sandbox.ledger().creates == 1).await;
    assert_eq!(sidecar.stop(), Some(0));
}

/// A published token is left to its readers for a while before it is applied; one that was published
/// before a crash is applied after it, and no other is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_published_before_it_is_applied() {
    let trial = Trial::start(Duration::from_secs(24), 2).await;
    std::fs::create_dir(trial.published()).unwrap();
    trial.publish();
    let read =
        |key: &str| std::fs::read_to_string(trial.published().join("shared").join(key)).unwrap_or_default();
    let sidecar = trial.sidecar();
    trial.until(&sidecar, "the first token", |_| !read("current").is_empty()).await;
    assert_eq!(trial.sandbox.ledger().creates, 0, "its readers come first");
    trial.until(&sidecar, "both created", |sandbox| sandbox.ledger().creates == 2).await;
    let first = read("current");
    trial.until(&sidecar, "the second token", |_| read("current") != first).await;
    assert_eq!(read("previous"), first);
    sidecar.kill();
    let before = trial.sandbox.ledger();
    assert_eq!((before.mints, before.rotations), (2, 0), "{before:#?}");
    let sidecar = trial.sidecar();
    trial.until(&sidecar, "both rotated", |sandbox| sandbox.ledger().rotations == 2).await;
    let after = trial.sandbox.ledger();
    assert_eq!((after.mints, after.late, after.deliveries_refused), (2, 0, 0), "{after:#?}");
}

/// The README's blocks of YAML, with nothing changed but the addresses.
#[tokio::test(flavor = "multi_thread")]
async fn the_shortest_example_runs_as_it_stands() {
    let trial = Trial::start(Duration::from_secs(6), 1).await;
    let readme = std::fs::read_to_string(in_repository("README.md")).unwrap();
    let example = readme
        .split("```yaml\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .find(|block| block.contains("kind: WebhookProvider"))
        .unwrap();
    let url = trial.sandbox.url();
    let example = example
        .replace("preset: gupy", &format!("preset: gupy\n  baseUrl: {url}"))
        .replace("https://auth.example.com", &url);
    for name in ["10-provider.yaml", "20-token-source.yaml", "30-subscriptions.yaml"] {
        std::fs::remove_file(trial.manifests().join(name)).unwrap();
    }
    std::fs::write(trial.manifests().join("example.yaml"), example).unwrap();
    let sidecar = trial.sidecar();
    trial.until(&sidecar, "a create and two rotations", |sandbox| sandbox.ledger().rotations >= 2).await;
    let ledger = trial.sandbox.ledger();
    assert_eq!((ledger.creates, ledger.late, ledger.deliveries_refused), (1, 0, 0), "{ledger:#?}");
}

/// A platform that answers every fourth call with 502, loses answers or never gives them, and a
/// token server that is no better, cost nobody a token of 20 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_fails_now_and_then_makes_no_short_token_late() {
    let trial = Trial::start(Duration::from_secs(20), 6).await;
    let sidecar = trial.sidecar();
    trial.until(&sidecar, "everything created", |sandbox| sandbox.ledger().webhooks == 6).await;
    let faults = [
        Fault::status(Target::Update, 502).share(0.25, 1),
        Fault::lose_answer(Target::Update).share(0.1, 2),
        Fault { hang: true, ..Fault::at(Target::Update) }.share(0.1, 3),
        Fault::status(Target::Token, 503).share(0.4, 4),
        Fault::status(Target::List, 502).share(0.125, 5),
    ];
    for fault in faults {
        trial.sandbox.faults().add(fault).unwrap();
    }
    trial.until(&sidecar, "three rotations of each", |sandbox| sandbox.ledger().rotations >= 18).await;
    let ledger = trial.sandbox.ledger();
    assert_eq!(
        (ledger.late, ledger.late_now, ledger.deliveries_refused, ledger.doubled),
        (0, 0, 0, 0),
        "{ledger:#?}\n{}",
        sidecar.log()
    );
    assert!(ledger.faults > 0, "{ledger:#?}");
}
