//! What people install hookkeeper with: `charts`, `deploy` and what belongs to them.

mod admission;
mod alerts;
mod argocd;
mod asked;
mod chart;
mod dashboard;
mod exported;
mod gitops;
mod helm;
mod image;
mod install;
mod kustomize;
mod manifests;
mod rendered;
mod rights;
mod runbooks;
mod sidecar_examples;
mod systemd;
mod users_chart;
mod values;
mod workflows;
