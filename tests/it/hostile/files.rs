//! Files that are none, or have no end: among the manifests, and in the place of a Secret's value.

use std::os::unix::fs::symlink;

use super::stage::{HEALTHY, Stage, subscription};

/// What stands in a folder under each name; the reason is that of a Secret which is looked for there.
const ODD: [(&str, &str); 8] = [
    ("pipe", "SecretNotFound"),
    ("without-end", "SecretNotFound"),
    ("terminal", "SecretNotFound"),
    ("folder", "SecretNotFound"),
    ("nowhere", "SecretNotFound"),
    ("link-to-itself", "ProviderUnavailable"),
    ("huge", "ProviderUnavailable"),
    ("no-text", "ProviderUnavailable"),
];

fn make(path: &std::path::Path, name: &str) {
    match name {
        "pipe" => assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success()),
        "without-end" => symlink("/dev/zero", path).unwrap(),
        "terminal" => symlink("/dev/tty", path).unwrap(),
        "folder" => std::fs::create_dir(path).unwrap(),
        "nowhere" => symlink("/nowhere", path).unwrap(),
        "link-to-itself" => symlink(path, path).unwrap(),
        // It takes no place on the disk.
        "huge" => std::fs::File::create(path).unwrap().set_len(9 << 20).unwrap(),
        "no-text" => std::fs::write(path, [0xff, 0xfe, 0]).unwrap(),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_of_a_usual_size_is_not_read_and_harms_nobody() {
    let stage = Stage::start().await;
    let secrets = tempfile::tempdir().unwrap();
    for (name, _) in ODD {
        make(&secrets.path().join(format!("{name}.value")), name);
        make(stage.path(&format!("60-{name}.yaml")).as_ref(), name);
        let header = format!("    - {{name: x, valueFrom: {{secretKeyRef: {{name: {name}, key: value}}}}}}");
        let text = subscription(name).replace("  tokenSourceRef", &format!("{header}\n  tokenSourceRef"));
        stage.write(&format!("50-{name}.yaml"), text);
    }
    let folder = secrets.path().to_str().unwrap().to_owned();
    let mut sidecar = stage.sidecar(&[], |program| {
        program.args(["--secrets-dir", &folder]);
    });
    stage.until_explained(ODD.into_iter()).await;
    stage.until_rotated(2).await;
    for (name, _) in ODD {
        assert!(stage.trouble(name).message.contains(name), "{:?}", stage.trouble(name));
    }
    assert_eq!(stage.ledger().creates, HEALTHY);
    stage.assert_withstood(&mut sidecar);
}
