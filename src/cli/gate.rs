//! `hookkeeper gate`: takes platforms' deliveries in and hands them on, without a cluster and without
//! rotating anything.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::gating::GateArgs;
use super::serve::ProcessArgs;

/// How many connections are kept open to one application.
const CONNECTIONS_PER_HOST: usize = 500;

/// Takes platforms' deliveries in, proves them, keeps them safe and hands them on, without a cluster.
///
/// One process for each folder of data. Tokens are not rotated: `sidecar --gate-listen` does both.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of manifests: all its .yaml, .yml and .json files, read again when they change.
    #[arg(long, value_name = "DIR")]
    pub manifests: PathBuf,
    /// Folder for what was acknowledged and not yet handed on; on a disk that stays.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Where platforms send their deliveries to.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8090")]
    pub listen: SocketAddr,
    /// Look for the values of Secrets in DIR/SECRET/KEY and DIR/SECRET.KEY.
    #[arg(long, value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,
    /// What all gates take.
    #[command(flatten)]
    pub gate: GateArgs,
    /// What all commands that run until they are ended take.
    #[command(flatten)]
    pub process: ProcessArgs,
}
