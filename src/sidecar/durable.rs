//! Replacing a file so that a crash at any moment leaves the old content or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The steps of a replacement, in their order; a test stops between any two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A temporary file is made beside the target.
    Create,
    /// The content goes into it.
    Write,
    /// The content reaches the disk.
    SyncFile,
    /// The temporary file takes the target's name.
    Rename,
    /// The name reaches the disk.
    SyncFolder,
}

/// Replaces a file's content; readable by its owner only. Answers when it is durable.
///
/// There must be one writer per path. On an error the target holds the old content or, when only
/// the last step failed, the new one.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let result = replace_stepwise(path, content, &mut |_| Ok(()));
    if result.is_err() {
        // What is left of a full disk must not make it fuller.
        let _ = fs::remove_file(temporary(path)?);
    }
    result
}

/// Makes a new file that only its owner can read, and brings its content to the disk.
pub(super) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Brings the names in a folder to the disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What a person can do about an error of the file system.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "free some space on that disk"
        }
        ErrorKind::PermissionDenied => {
            "give the user that hookkeeper runs as permission to read and write there"
        }
        ErrorKind::ReadOnlyFilesystem => "make that file system one that can be written to",
        // What is mounted cannot be replaced, only written into, and that is not atomic.
        ErrorKind::ResourceBusy => "it is a mount point of its own: mount the folder, not the file",
        ErrorKind::NotFound | ErrorKind::NotADirectory => "see that its folder exists and is mounted",
        _ => "see that the disk works and that the path is meant",
    }
}

fn replace_stepwise(
    path: &Path,
    content: &[u8],
    before: &mut dyn FnMut(Step) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary(path)?;
    before(Step::Create)?;
    // A crash may have left one; it is never read.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_private(&temporary)?;
    before(Step::Write)?;
    file.write_all(content)?;
    before(Step::SyncFile)?;
    file.sync_all()?;
    before(Step::Rename)?;
    fs::rename(&temporary, path)?;
    before(Step::SyncFolder)?;
    sync_folder(folder_of(path))
}

/// `create_new` follows no link that somebody else put there.
fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    Ok(path.with_file_name(hidden))
}

/// The folder a file is in; for a bare name that is the working directory.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const STEPS: [Step; 5] = [Step::Create, Step::Write, Step::SyncFile, Step::Rename, Step::SyncFolder];

    /// Runs a replacement up to a step and leaves everything as a killed process would.
    fn interrupted_before(step: Step, path: &Path, content: &[u8]) {
        let result = replace_stepwise(path, content, &mut |next| {
            if next == step {
                return Err(io::Error::other("killed"));
            }
            Ok(())
        });
        assert!(result.is_err());
    }

    #[test]
    fn a_crash_before_any_step_leaves_the_old_content_or_the_new() {
        for step in STEPS {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.json");
            replace(&path, b"old").unwrap();
            interrupted_before(step, &path, b"new and longer");
            let expected: &[u8] = if step == Step::SyncFolder { b"new and longer" } else { b"old" };
            assert_eq!(fs::read(&path).unwrap(), expected, "{step:?}");
            // What the crash left is no obstacle.
            replace(&path, b"next").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"next");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_crash_during_the_first_write_leaves_no_file_under_the_name() {
        for step in [Step::Create, Step::Write, Step::SyncFile, Step::Rename] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.json");
            interrupted_before(step, &path, b"new");
            assert!(!path.exists(), "{step:?}");
        }
    }

    #[test]
    fn the_steps_come_in_the_order_that_makes_them_durable() {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        replace_stepwise(&folder.path().join("file"), b"x", &mut |step| {
            seen.push(step);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, STEPS);
    }

    #[test]
    fn a_file_that_is_a_mount_point_is_told_to_be_mounted_by_its_folder() {
        // EBUSY, as `rename` answers over a mount point.
        let busy = io::Error::from_raw_os_error(16);
        assert_eq!(remedy(&busy), "it is a mount point of its own: mount the folder, not the file");
    }

    #[test]
    fn only_the_owner_can_read_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"was readable by all").unwrap();
        replace(&path, b"x").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_link_under_the_temporary_name_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, b"untouched").unwrap();
        let path = folder.path().join("file");
        std::os::unix::fs::symlink(&elsewhere, folder.path().join(".file.new")).unwrap();
        replace(&path, b"x").unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), b"untouched");
        assert_eq!(fs::read(&path).unwrap(), b"x");
    }

    #[test]
    fn a_failed_replacement_keeps_the_old_content_and_no_remains() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("folder");
        // A folder with something in it cannot be renamed over.
        fs::create_dir(&target).unwrap();
        fs::write(target.join("inside"), b"x").unwrap();
        assert!(replace(&target, b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
