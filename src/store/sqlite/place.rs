//! Where the store lies: whether the folder can keep what is written into it, and whether the file in it is
//! ours. Nothing here changes a file that was there before.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::schema;

/// Name of the file in the folder of the store.
const FILE: &str = "hookkeeper.db";

/// Locked as long as a process has the store open.
const LOCK: &str = "hookkeeper.lock";

/// Length of the header of an SQLite file.
const HEADER: usize = 100;

/// A folder that is ours for as long as this lives.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    file: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes a folder over; `may_vanish` allows file systems that do not keep what is written.
    pub(super) fn take(folder: &Path, may_vanish: bool) -> Result<Self, OpenError> {
        let failed = |error| OpenError::of_file_system(folder, error);
        let real = folder.canonicalize().map_err(failed)?;
        if !fs::metadata(&real).map_err(failed)?.is_dir() {
            return Err(OpenError::NotAFolder { path: folder.to_owned() });
        }
        if !may_vanish && let Some(kind) = vanishing(&real).map_err(failed)? {
            return Err(OpenError::MayVanish { path: folder.to_owned(), kind });
        }
        let lock = lock(folder)?;
        let place = Self { folder: folder.to_owned(), file: folder.join(FILE), _lock: lock };
        place.refuse_foreign()?;
        Ok(place)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// What was committed and is not in the file yet.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join(format!("{FILE}-wal"))
    }

    /// Where a new store is made; it gets its name when it is complete.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.folder.join(format!("{FILE}.new"))
    }

    /// Bytes that can still be written on this disk.
    pub(super) fn free(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&self.folder)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Brings the names in the folder to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    /// Looks at the header of the file without SQLite, which would already write beside a file of others.
    fn refuse_foreign(&self) -> Result<(), OpenError> {
        let path = &self.file;
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(OpenError::of_file_system(path, error)),
        };
        let failed = |error| OpenError::of_file_system(path, error);
        let length = file.metadata().map_err(failed)?.len();
        let mut header = [0; HEADER];
        let mut filled = 0;
        while filled < HEADER {
            match file.read(&mut header[filled..]).map_err(failed)? {
                0 => break,
                count => filled += count,
            }
        }
        let damaged = |problem: String| OpenError::Damaged { path: path.clone(), problem };
        // While the log holds anything, the file alone says little: a crash may have torn the page with the
        // header, or cut the file, in the middle of bringing the log into it.
        let has_log = fs::metadata(self.log()).is_ok_and(|log| log.len() > 0);
        let is_blank = header.iter().all(|byte| *byte == 0);
        // Of an empty file SQLite would delete the log.
        if filled < HEADER {
            return Err(damaged(format!("it has {filled} bytes, and its header alone has {HEADER}")));
        }
        if has_log && is_blank {
            return Ok(());
        }
        // Offsets of the header: https://www.sqlite.org/fileformat.html#the_database_header
        let number =
            |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if !header.starts_with(b"SQLite format 3\0") {
            return Err(if is_blank {
                damaged("its header is blank".to_owned())
            } else {
                OpenError::Foreign { path: path.clone() }
            });
        }
        if number(68) != schema::APPLICATION_ID {
            return Err(OpenError::Foreign { path: path.clone() });
        }
        if number(60) > schema::version() {
            return Err(OpenError::Newer { path: path.clone(), found: number(60), known: schema::version() });
        }
        // A file that ends too early is noticed here and not in the middle of the night.
        let page = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
            1 => 65_536,
            size => size,
        };
        let expected = page * u64::from(number(28).unsigned_abs());
        if !has_log && length < expected {
            return Err(damaged(format!("it has {length} bytes instead of {expected}")));
        }
        Ok(())
    }
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| OpenError::of_file_system(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::of_file_system(&path, error)),
    }
}

/// What is wrong with the file system of a folder, if it may lose what is written.
#[cfg(target_os = "linux")]
fn vanishing(folder: &Path) -> io::Result<Option<String>> {
    let magic = u64::try_from(rustix::fs::statfs(folder)?.f_type).unwrap_or(0) & 0xffff_ffff;
    if let Some(kind) = vanishing_kind(magic) {
        return Ok(Some(kind.to_owned()));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(is_empty_dir(&mounts, folder)
        .then(|| "it is an emptyDir volume, which is deleted together with its pod".to_owned()))
}

#[cfg(not(target_os = "linux"))]
fn vanishing(_: &Path) -> io::Result<Option<String>> {
    Ok(None)
}

/// Kinds of file systems by the number that the kernel gives them (`statfs(2)` and `linux/magic.h`).
#[cfg(any(target_os = "linux", test))]
fn vanishing_kind(magic: u64) -> Option<&'static str> {
    const NETWORK: &str = "it is a network file system, on which neither locks nor fsync can be relied on";
    Some(match magic {
        0x0102_1994 | 0x8584_58f6 => "it is in memory (tmpfs), and lost when the machine or the pod ends",
        0x794c_7630 | 0x6175_6673 => {
            "it is the layer of a container (overlay), which is deleted together with the container"
        }
        // NFS, SMB in three forms, AFS, Coda, Ceph, 9P, Lustre, NCP, shared folders of VirtualBox and VMware.
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 | 0x5346_414f | 0x6b41_4653 | 0x7375_7245
        | 0x00c3_6400 | 0x0102_1997 | 0x0bd0_0bd0 | 0x564c | 0x786f_4256 | 0xbacb_acbc => NETWORK,
        0x6573_5546 => {
            "it is a file system of another program (FUSE), on which neither locks nor fsync can be relied on"
        }
        // initramfs, squashfs and iso9660 cannot be written at all; ecryptfs and others lie on a disk.
        _ => return None,
    })
}

/// Whether the folder lies in a Kubernetes volume of the kind `emptyDir`: the kubelet keeps these in folders
/// of that name, and the root of the mount shows it (proc_pid_mountinfo(5), fields 4 and 5).
#[cfg(any(target_os = "linux", test))]
fn is_empty_dir(mounts: &str, folder: &Path) -> bool {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?.replace("\\040", " "));
            folder.starts_with(&point).then_some((point.len(), root))
        })
        // Of mounts at the same place the last one is seen.
        .max_by_key(|(length, _)| *length)
        .is_some_and(|(_, root)| root.contains("/kubernetes.io~empty-dir/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_that_may_lose_what_is_written_are_known_by_their_numbers() {
        for (magic, word) in
            [(0x0102_1994, "memory"), (0x794c_7630, "overlay"), (0x6969, "network"), (0x6573_5546, "FUSE")]
        {
            assert!(vanishing_kind(magic).unwrap().contains(word), "{magic:x}");
        }
        // ext4, XFS, Btrfs, ZFS, F2FS.
        for magic in [0xef53, 0x5846_5342, 0x9123_683e, 0x2fc1_2fc1, 0xf2f5_2010] {
            assert_eq!(vanishing_kind(magic), None, "{magic:x}");
        }
    }

    #[test]
    fn an_empty_dir_is_seen_at_the_root_of_its_mount() {
        let mounts = "\
1 0 259:1 / / rw,relatime - ext4 /dev/root rw
2 1 259:1 /var/lib/kubelet/pods/0a/volumes/kubernetes.io~empty-dir/data /data rw - ext4 /dev/root rw
3 1 259:2 / /data/inside rw - ext4 /dev/sdb rw
4 1 259:1 /var/lib/kubelet/pods/0a/volumes/kubernetes.io~csi/pvc/mount /volume rw - ext4 /dev/sdc rw
";
        for (folder, expected) in [
            ("/data", true),
            ("/data/store", true),
            ("/data/inside/store", false),
            ("/volume", false),
            ("/database", false),
        ] {
            assert_eq!(is_empty_dir(mounts, Path::new(folder)), expected, "{folder}");
        }
        assert!(!is_empty_dir("", Path::new("/data")));
        assert!(!is_empty_dir("nonsense\n1 2 3", Path::new("/data")));
    }
}
