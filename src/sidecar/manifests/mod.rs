//! The desired state: manifests in a folder, read again when they change.
//!
//! [`folder`] reads files, [`document`] understands them, [`plan`] decides what follows, and
//! [`watch`] runs the three in a loop. Only `plan` decides anything, and it does no I/O.
//!
//! Whatever is not certain changes nothing: a broken file, a folder that is empty or not mounted, a
//! file that is missing for a moment while an editor or a deployment replaces it. The last good
//! version of everything stays in force meanwhile, across restarts too.

pub mod document;
pub mod folder;
pub mod plan;
pub mod watch;
