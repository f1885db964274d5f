//! The desired state: manifests in a folder, read again when they change.
//!
//! [`folder`] reads files, [`document`] understands them, [`files`] knows which one declares what,
//! [`plan`] decides what follows, and [`watch`] runs them in a loop. Only `folder` and `watch` do
//! I/O, and they decide nothing.
//!
//! Whatever is not certain changes nothing: a broken file, a folder that is empty or not mounted, a
//! file that is missing for a moment while an editor or a deployment replaces it. The last good
//! version of everything stays in force meanwhile, across restarts too.

mod changes;
pub mod document;
pub mod files;
pub mod folder;
pub mod plan;
mod receivers;
pub mod references;
pub mod watch;
