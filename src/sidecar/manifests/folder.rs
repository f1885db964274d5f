//! Reading the folder: which files are there, and the text of those that changed.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::secret::SecretText;
use crate::sidecar::stamp::stamp;

/// Largest manifest file, and the most that the files of a folder have together, in bytes.
pub const SIZE_LIMIT: u64 = 64 * 1024 * 1024;
/// The most manifest files of a folder.
pub const MOST_FILES: usize = 10_000;

/// A file that was changed less than this ago may be in the middle of being written.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// What a look at the folder showed.
#[derive(Debug)]
pub struct FolderRead {
    /// The manifest files by name, or why the folder cannot be read.
    pub files: Result<BTreeMap<String, FileRead>, String>,
    /// Whether anything differs from the last look.
    pub changed: bool,
}

/// What a look at one file showed.
#[derive(Debug)]
pub enum FileRead {
    /// Its content is what it was.
    Unchanged,
    /// It has this content now. Secret, because a manifest may hold a Secret.
    Text {
        /// The content.
        text: SecretText,
        /// Identity of the file: inode, mtime and size.
        version: String,
    },
    /// It is there and cannot be read.
    Unreadable(String),
}

/// A folder of manifests: `*.yaml`, `*.yml` and `*.json`, sorted by name.
///
/// Hidden files and folders are passed over, which includes the `..data` of a mounted ConfigMap;
/// the links into it are followed.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    seen: BTreeMap<String, Seen>,
    failed: Option<String>,
    looked_before: bool,
}

#[derive(Debug)]
struct Seen {
    stamp: String,
    /// Nothing can have been written since under this stamp.
    settled: bool,
    /// `None` when the file could not be read.
    digest: Option<[u8; 32]>,
}

impl Folder {
    /// A folder that nobody has looked at yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: BTreeMap::new(), failed: None, looked_before: false }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has a file's text handed over again at the next look.
    pub fn read_again(&mut self, name: &str) {
        if let Some(seen) = self.seen.get_mut(name) {
            // No file has this stamp and no text this digest.
            seen.stamp.clear();
            seen.digest = Some([0; 32]);
        }
    }

    /// Looks at the folder; blocks while it reads.
    pub fn look(&mut self, now: SystemTime) -> FolderRead {
        let names = match self.names() {
            Ok(names) => names,
            Err(error) => {
                let error = error.to_string();
                let changed = self.failed.as_ref() != Some(&error);
                self.failed = Some(error.clone());
                self.looked_before = true;
                return FolderRead { files: Err(error), changed };
            }
        };
        let mut changed = self.failed.take().is_some();
        let before = self.seen.len();
        self.seen.retain(|name, _| names.contains(name));
        changed |= self.seen.len() != before;
        let mut files = BTreeMap::new();
        for name in names {
            let Some(read) = self.look_at(&name, now) else {
                continue;
            };
            changed |= !matches!(read, FileRead::Unchanged);
            files.insert(name, read);
        }
        self.looked_before = true;
        FolderRead { files: Ok(files), changed }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut size = 0_u64;
        for entry in fs::read_dir(&self.path)? {
            // A name that is no text has none of the three endings that matter here.
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if !is_manifest(&name) {
                continue;
            }
            let metadata = fs::metadata(self.path.join(&name));
            if metadata.as_ref().is_ok_and(|metadata| !metadata.is_file()) {
                continue;
            }
            // One that is too large is told by itself.
            size += metadata.map_or(0, |metadata| metadata.len().min(SIZE_LIMIT));
            names.push(name);
            if names.len() > MOST_FILES {
                return Err(io::Error::other(format!("it holds more than {MOST_FILES} manifest files")));
            }
        }
        if names.len() > 1 && size > SIZE_LIMIT {
            return Err(io::Error::other("its manifest files are larger than 64 MiB together"));
        }
        names.sort();
        Ok(names)
    }

    /// `None` for a new file that may still be being written.
    fn look_at(&mut self, name: &str, now: SystemTime) -> Option<FileRead> {
        let path = self.path.join(name);
        let seen = self.seen.get(name);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) => return Some(self.unreadable(name, String::new(), &error)),
        };
        let stamp = stamp(&metadata);
        let settled = !is_young(&metadata, now);
        if seen.is_some_and(|seen| seen.stamp == stamp && (seen.settled || !settled)) {
            return Some(FileRead::Unchanged);
        }
        if !settled && self.looked_before {
            return seen.map(|_| FileRead::Unchanged);
        }
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(error) => return Some(self.unreadable(name, stamp, &error)),
        };
        let digest = Some(Sha256::digest(text.expose()).into());
        let same = seen.is_some_and(|seen| seen.digest == digest);
        let version = stamp.clone();
        self.seen.insert(name.to_owned(), Seen { stamp, settled, digest });
        Some(if same { FileRead::Unchanged } else { FileRead::Text { text, version } })
    }

    /// Reports a file once and then again only after it has changed.
    fn unreadable(&mut self, name: &str, stamp: String, error: &io::Error) -> FileRead {
        let seen = Seen { stamp, settled: true, digest: None };
        let before = self.seen.insert(name.to_owned(), seen);
        if before.is_some_and(|before| before.digest.is_none()) {
            return FileRead::Unchanged;
        }
        FileRead::Unreadable(error.to_string())
    }
}

fn is_manifest(name: &str) -> bool {
    !name.starts_with('.')
        && Path::new(name)
            .extension()
            .is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json")
}

/// A time in the future is no reason to wait: clocks of network file systems differ.
fn is_young(metadata: &Metadata, now: SystemTime) -> bool {
    metadata
        .modified()
        .ok()
        .and_then(|modified| now.duration_since(modified).ok())
        .is_some_and(|age| age < SETTLED_AFTER)
}

fn read_text(path: &Path) -> io::Result<SecretText> {
    let mut text = String::new();
    let mut file = fs::File::open(path)?.take(SIZE_LIMIT + 1);
    let read = file.read_to_string(&mut text);
    let text = SecretText::new(text);
    let length = read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => io::Error::other("it is no UTF-8 text"),
        _ => error,
    })?;
    if u64::try_from(length).unwrap_or(u64::MAX) > SIZE_LIMIT {
        return Err(io::Error::other("it is larger than 64 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Long enough after everything the test writes.
    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(60)
    }

    fn texts(read: FolderRead) -> Vec<(String, String)> {
        let texts = read.files.unwrap().into_iter().filter_map(|(name, file)| {
            let FileRead::Text { text, .. } = file else {
                return None;
            };
            Some((name, text.expose().to_owned()))
        });
        texts.collect()
    }

    fn text_of(name: &str, text: &str) -> (String, String) {
        (name.to_owned(), text.to_owned())
    }

    #[test]
    fn manifests_are_read_once_and_again_when_they_change() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "c.json", ".hidden.yaml", "notes.txt", "yaml"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        fs::create_dir(directory.path().join("folder.yaml")).unwrap();
        let mut folder = Folder::new(directory.path().to_owned());
        let first = folder.look(later());
        assert!(first.changed);
        assert_eq!(texts(first), ["a.yml", "b.yaml", "c.json"].map(|name| text_of(name, name)));
        let second = folder.look(later());
        assert!(!second.changed);
        assert_eq!(second.files.as_ref().unwrap().len(), 3);
        assert_eq!(texts(second), []);

        fs::write(directory.path().join("b.yaml"), "other").unwrap();
        let third = folder.look(later());
        assert!(third.changed);
        assert_eq!(texts(third), [text_of("b.yaml", "other")]);

        fs::remove_file(directory.path().join("b.yaml")).unwrap();
        let fourth = folder.look(later());
        assert!(fourth.changed);
        assert_eq!(fourth.files.unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_was_only_touched_is_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        fs::write(&path, "a").unwrap();
        let mut folder = Folder::new(directory.path().to_owned());
        assert_eq!(texts(folder.look(later())).len(), 1);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a").unwrap();
        assert!(!folder.look(later()).changed);
        folder.read_again("a.yaml");
        assert_eq!(texts(folder.look(later())), [text_of("a.yaml", "a")]);
    }

    #[test]
    fn a_file_that_is_being_written_is_left_alone_for_a_moment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        fs::write(&path, "first").unwrap();
        let mut folder = Folder::new(directory.path().to_owned());
        // The first look takes what is there.
        assert_eq!(texts(folder.look(SystemTime::now())).len(), 1);
        fs::write(&path, "half").unwrap();
        fs::write(directory.path().join("new.yaml"), "half").unwrap();
        let read = folder.look(SystemTime::now());
        assert!(!read.changed);
        assert_eq!(read.files.unwrap().len(), 1);
        assert_eq!(texts(folder.look(later())), [text_of("a.yaml", "half"), text_of("new.yaml", "half")]);
    }

    #[test]
    fn a_mounted_config_map_is_read_through_its_links() {
        let directory = tempfile::tempdir().unwrap();
        let mount = directory.path();
        let version = |name: &str, text: &str| {
            fs::create_dir(mount.join(name)).unwrap();
            fs::write(mount.join(name).join("a.yaml"), text).unwrap();
            symlink(name, mount.join("..data_tmp")).unwrap();
            fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        };
        version("..2026_11_21", "one");
        symlink("..data/a.yaml", mount.join("a.yaml")).unwrap();
        let mut folder = Folder::new(mount.to_owned());
        assert_eq!(texts(folder.look(later())), [text_of("a.yaml", "one")]);
        version("..2026_11_22", "two");
        assert_eq!(texts(folder.look(later())), [text_of("a.yaml", "two")]);
    }

    #[test]
    fn what_cannot_be_read_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        symlink("nowhere", directory.path().join("dangling.yaml")).unwrap();
        fs::write(directory.path().join("binary.yaml"), b"\xff\xfe").unwrap();
        let mut folder = Folder::new(directory.path().to_owned());
        let files = folder.look(later()).files.unwrap();
        assert!(matches!(files["dangling.yaml"], FileRead::Unreadable(_)));
        assert!(matches!(files["binary.yaml"], FileRead::Unreadable(_)));
        assert!(!folder.look(later()).changed);
        fs::write(directory.path().join("binary.yaml"), "text").unwrap();
        assert_eq!(texts(folder.look(later())).len(), 1);
    }

    #[test]
    fn a_folder_with_too_many_files_or_bytes_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "b.yaml"] {
            // A file with a hole: it takes no room on the disk.
            fs::File::create(directory.path().join(name)).unwrap().set_len(SIZE_LIMIT / 2 + 1).unwrap();
        }
        let mut folder = Folder::new(directory.path().to_owned());
        let problem = folder.look(later()).files.unwrap_err();
        assert_eq!(problem, "its manifest files are larger than 64 MiB together");
        for name in ["a.yaml", "b.yaml"] {
            fs::remove_file(directory.path().join(name)).unwrap();
        }
        for number in 0..=MOST_FILES {
            fs::File::create(directory.path().join(format!("{number}.yaml"))).unwrap();
        }
        let problem = folder.look(later()).files.unwrap_err();
        assert_eq!(problem, "it holds more than 10000 manifest files");
        fs::remove_file(directory.path().join("0.yaml")).unwrap();
        assert_eq!(folder.look(later()).files.unwrap().len(), MOST_FILES);
    }

    #[test]
    fn a_folder_that_is_away_is_told_once_and_noticed_when_it_is_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(directory.path().join("mount"));
        let read = folder.look(later());
        assert!(read.files.is_err() && read.changed);
        assert!(!folder.look(later()).changed);
        fs::create_dir(directory.path().join("mount")).unwrap();
        let read = folder.look(later());
        assert!(read.files.unwrap().is_empty() && read.changed);
    }
}
