//! The image that `deploy/image/build` has made: what is in it, and that it runs as it is meant to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::super::Ended;
use super::super::tools::ended;
use super::files_in;

/// As unpacked on a node, with SQLite and the client of PostgreSQL. What is compressed is what travels, and less
/// than half of it.
const LARGEST: u64 = 28_000_000;

/// The image, unpacked.
struct Image {
    folder: tempfile::TempDir,
    config: Value,
}

impl Image {
    fn unpack() -> Self {
        let archive = std::env::var("HOOKKEEPER_TEST_IMAGE")
            .expect("HOOKKEEPER_TEST_IMAGE names no image; 'bash tests/run' makes one");
        let folder = tempfile::tempdir().unwrap();
        untar(Path::new(&archive), &folder.path().join("archive"));
        let mut image = Self { folder, config: Value::Null };
        let manifest = image.blob(&image.json("index.json")["manifests"][0]["digest"]);
        let manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1, "{manifest:#}");
        untar(&image.blob(&layers[0]["digest"]), &image.root());
        image.config =
            serde_json::from_slice(&fs::read(image.blob(&manifest["config"]["digest"])).unwrap()).unwrap();
        image
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.folder.path().join("archive").join(name)).unwrap()).unwrap()
    }

    fn blob(&self, digest: &Value) -> PathBuf {
        let digest = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        self.folder.path().join("archive/blobs/sha256").join(digest)
    }

    /// Runs its binary as a container would: as the image's user, with devices, on a root that nothing
    /// can write to but for `/tmp`.
    fn run(&self, arguments: &str) -> Ended {
        let root = self.root();
        let user = self.config["config"]["User"].as_str().unwrap();
        let program = self.config["config"]["Entrypoint"][0].as_str().unwrap();
        let script = format!(
            "mkdir -p {root}/dev && mount --bind {root} {root} && mount --bind /dev {root}/dev && mount -o remount,bind,ro {root} &&
             mount -t tmpfs -o mode=1777 none {root}/tmp && exec env --ignore-environment /usr/sbin/chroot --userspec={user} {root} {program} {arguments}",
            root = root.display(),
        );
        ended(Command::new("unshare").args(["--mount", "sh", "-c", &script]))
    }
}

fn untar(archive: &Path, folder: &Path) {
    fs::create_dir(folder).unwrap();
    let ended = ended(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn it_holds_one_static_binary_and_hardly_anything_else() {
    let image = Image::unpack();
    let root = image.root();
    let names: Vec<_> =
        files_in(&root).iter().map(|file| file.strip_prefix(&root).unwrap().display().to_string()).collect();
    let expected = [
        "etc/group",
        "etc/nsswitch.conf",
        "etc/passwd",
        "etc/ssl/certs/ca-certificates.crt",
        "hookkeeper",
        "licenses/hookkeeper",
    ];
    assert_eq!(names, expected);
    let bytes: u64 = files_in(&root).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes < LARGEST, "{bytes} bytes");
    let bundle = fs::read_to_string(root.join("etc/ssl/certs/ca-certificates.crt")).unwrap();
    assert!(bundle.matches("-----BEGIN CERTIFICATE-----").count() > 50);
}

#[test]
fn it_says_what_it_is_and_is_not_root() {
    let image = Image::unpack();
    let config = &image.config["config"];
    assert_eq!((&config["User"], &config["Entrypoint"]), (&json!("65532:65532"), &json!(["/hookkeeper"])));
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(labels["org.opencontainers.image.licenses"], env!("CARGO_PKG_LICENSE"));
    assert_eq!(labels["org.opencontainers.image.description"], env!("CARGO_PKG_DESCRIPTION"));
}

#[test]
fn its_binary_works_without_privileges_on_a_root_that_is_read_only() {
    let image = Image::unpack();
    let ended = image.run("--version");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(ended.stdout, format!("hookkeeper {}\n", env!("CARGO_PKG_VERSION")));
    let ended = image.run("crds");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout.matches("kind: CustomResourceDefinition").count(), 4);
    let ended = image.run("demo --duration 12s --token-life 10s");
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}
