//! What people install hookkeeper with: `charts`, `deploy` and what belongs to them.

mod admission;
mod argocd;
mod chart;
mod gitops;
mod helm;
mod image;
mod install;
mod kustomize;
mod rendered;
mod rights;
mod sidecar_examples;
mod systemd;
mod users_chart;
mod values;
