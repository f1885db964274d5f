//! The arguments of `hookkeeper gate`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::gating::GateArgs;
use super::serve::ProcessArgs;

/// Takes platforms' deliveries in, proves them, keeps them safe and hands them on.
///
/// In a cluster any number of processes may run, each with a folder of data of its own or all with one
/// database. With --manifests it needs no cluster. Tokens are not rotated: the controller does that, or
/// `sidecar --gate-listen` both.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder of manifests, where there is no cluster: all its .yaml, .yml and .json files, read again when
    /// they change.
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Folder for what was acknowledged and not yet handed on; on a disk that stays.
    #[arg(long, value_name = "DIR", group = "store", required_unless_present = "database")]
    pub data: Option<PathBuf>,
    /// File for the statuses of receivers: state.json in the folder of --data, if that is given.
    #[arg(long, value_name = "FILE", requires = "manifests")]
    pub state: Option<PathBuf>,
    /// Where platforms send their deliveries to.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8090")]
    pub listen: SocketAddr,
    /// Look for the values of Secrets in DIR/SECRET/KEY and DIR/SECRET.KEY.
    #[arg(long, value_name = "DIR", requires = "manifests")]
    pub secrets_dir: Option<PathBuf>,
    /// What a gate in a cluster takes.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// What all gates take.
    #[command(flatten)]
    pub gate: GateArgs,
    /// What all commands that run until they are ended take.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// Arguments of a gate in a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterArgs {
    /// Look after this namespace only; may be given several times.
    #[arg(long, short = 'n', value_name = "NAMESPACE", conflicts_with = "manifests")]
    pub namespace: Vec<String>,
    /// Look after objects with these labels only.
    #[arg(long, short = 'l', value_name = "SELECTOR", conflicts_with = "manifests")]
    pub selector: Option<String>,
    /// Context of the kubeconfig; in a pod none is needed.
    #[arg(long, value_name = "NAME", conflicts_with = "manifests")]
    pub context: Option<String>,
    /// Namespace of this gate's Lease; the one this process runs in when it is left out.
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "manifests")]
    pub lease_namespace: Option<String>,
    /// Name of this process, unlike that of any other gate: of its Lease, and in statuses. The name of the
    /// pod when it is left out.
    #[arg(long, value_name = "NAME", conflicts_with = "manifests")]
    pub name: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(arguments: &[&str]) -> Result<Args, String> {
        let line = ["gate", "--data", "d"].iter().chain(arguments);
        Line::try_parse_from(line).map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn it_runs_in_a_cluster_or_with_manifests_and_flags_of_the_other_form_are_refused() {
        assert!(parse(&["--manifests", "m", "--secrets-dir", "s"]).is_ok());
        let args = parse(&["-n", "hr", "-n", "ops", "-l", "team=a", "--name", "gate-0"]).unwrap();
        assert_eq!(args.cluster.namespace, ["hr", "ops"]);
        for flags in [
            &["--namespace", "hr"][..],
            &["--selector", "a=b"],
            &["--context", "c"],
            &["--lease-namespace", "n"],
            &["--name", "g"],
        ] {
            let both = [&["--manifests", "m"], flags].concat();
            let refused = parse(&both).unwrap_err();
            assert!(refused.contains("--manifests") && refused.contains(flags[0]), "{refused}");
        }
        let refused = parse(&["--secrets-dir", "s"]).unwrap_err();
        assert!(refused.contains("--manifests"), "{refused}");
    }
}
