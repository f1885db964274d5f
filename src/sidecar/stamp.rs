//! What a file is known again by.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Identity of a file's content as far as the file system knows it: inode, mtime and size.
pub(super) fn stamp(metadata: &Metadata) -> String {
    format!("{}-{}.{:09}-{}", metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size())
}
