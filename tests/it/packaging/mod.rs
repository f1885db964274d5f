//! What people install hookkeeper with: `charts`, `deploy` and what belongs to them.

mod chart;
mod helm;
mod image;
mod install;
mod kustomize;
mod rendered;
mod rights;
mod users_chart;
mod values;
