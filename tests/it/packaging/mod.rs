//! What people install hookkeeper with: `charts`, `deploy` and what belongs to them.

mod admission;
mod argocd;
mod gitops;
mod sidecar_examples;
mod systemd;
