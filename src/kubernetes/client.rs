//! Clients of the API server.

use std::error::Error;
use std::time::Duration;

use hyper::header::{HeaderValue, USER_AGENT};
use kube::client::ClientBuilder;
use kube::config::{AuthInfo, InferConfigError, KubeConfigOptions, KubeconfigError};
use kube::{Client, Config};

use super::last_heard::LastHeard;
use crate::ops::causes::told;

/// A call that has no answer after this long is given up.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// A silent connection ends after this long. It is longer than connections are kept for the next
/// call: one that ends in the moment it is taken fails that call.
const READ_TIMEOUT: Duration = Duration::from_secs(100);
/// How long the server keeps a watch open, in seconds; its own limit is 295. Load balancers in front
/// of API servers drop, without a word, what was silent for four minutes.
pub(super) const WATCH_SECONDS: u32 = 200;
/// A watch that has brought nothing for this long is dead: the server ends it earlier than that.
const WATCH_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 30);

/// Why the API server cannot be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor the environment of a pod tells where it is.
    #[error(
        "no cluster is known: this is no pod, and the kubeconfig cannot be used: {problem}; run in a pod, or set KUBECONFIG"
    )]
    Unknown {
        /// What is wrong with the kubeconfig.
        problem: String,
    },
    /// The kubeconfig lacks the context, or cannot be read.
    #[error("the kubeconfig cannot be used: {problem}")]
    Kubeconfig {
        /// What is wrong with it.
        problem: String,
    },
    /// The proxy towards the API server is of a kind that is not known. Its URL may hold a password.
    #[error(
        "the API server cannot be reached through the proxy that HTTPS_PROXY or the kubeconfig's proxy-url names; write http://HOST:PORT"
    )]
    Proxy,
    /// Certificates or keys cannot be used.
    #[error("no client for the API server can be built")]
    Client(#[source] kube::Error),
}

impl From<InferConfigError> for ConnectError {
    fn from(error: InferConfigError) -> Self {
        // Its own text tells of the pod's environment, too, which only a pod has.
        let kubeconfig = error.source().and_then(<dyn Error>::downcast_ref::<KubeconfigError>);
        Self::Unknown { problem: kubeconfig.map_or_else(|| told(&error), kubeconfig_problem) }
    }
}

impl From<KubeconfigError> for ConnectError {
    fn from(error: KubeconfigError) -> Self {
        Self::Kubeconfig { problem: kubeconfig_problem(&error) }
    }
}

impl From<kube::Error> for ConnectError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::ProxyProtocolUnsupported { .. } | kube::Error::ProxyProtocolDisabled { .. } => {
                Self::Proxy
            }
            error => Self::Client(error),
        }
    }
}

/// What is wrong with a kubeconfig, without its content: it holds keys and tokens.
fn kubeconfig_problem(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(error, path) => format!("{} cannot be read: {error}", path.display()),
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => format!("it is no valid kubeconfig (line {}, column {})", at.line(), at.column()),
            None => "it is no valid kubeconfig".to_owned(),
        },
        error => told(error),
    }
}

/// Clients of one API server.
///
/// Neither retries by itself: an attempt is a decision of the engine, and a wait inside a call would
/// outlast the right to make it.
#[derive(Clone)]
pub struct Clients {
    /// For everything that has an answer; see [`in_time`].
    pub calls: Client,
    /// For watches, which are silent for minutes.
    pub watches: Client,
    /// Without our credentials.
    pub anonymous: Client,
    /// When the watches were last heard of.
    pub last_heard: LastHeard,
    /// The namespace this process is in.
    pub namespace: String,
    /// Where the API server is, `HOST:PORT`: as this process reaches it, and as pods do.
    pub servers: Vec<String>,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Clients").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Finds the API server as kubectl does, or from a pod's environment.
///
/// # Errors
/// When it is not known where the server is, or its certificates cannot be used. No call is made.
pub async fn connect(context: Option<&str>) -> Result<Clients, ConnectError> {
    let mut config = match context {
        None => Config::infer().await?,
        Some(context) => {
            let options = KubeConfigOptions { context: Some(context.to_owned()), ..Default::default() };
            Config::from_kubeconfig(&options).await?
        }
    };
    let agent = concat!("hookkeeper/", env!("CARGO_PKG_VERSION"));
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    config.connect_timeout = Some(Duration::from_secs(10));
    config.default_retry = false;
    config.read_timeout = Some(READ_TIMEOUT);
    // Otherwise what a connection has waited for a call counts as silence of the call.
    config.reset_reader_on_write = true;
    config.write_timeout = Some(CALL_TIMEOUT);
    let namespace = config.default_namespace.clone();
    let servers = servers(&config);
    let calls = Client::try_from(config.clone())?;
    let mut nobody = config.clone();
    nobody.auth_info = AuthInfo::default();
    let anonymous = Client::try_from(nobody)?;
    config.read_timeout = Some(WATCH_TIMEOUT);
    let last_heard = LastHeard::default();
    let watches = ClientBuilder::try_from(config)?.with_layer(&last_heard).build();
    Ok(Clients { calls, watches, anonymous, last_heard, namespace, servers })
}

fn servers(config: &Config) -> Vec<String> {
    let url = &config.cluster_url;
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 });
    let own = url.host().map(|host| format!("{host}:{port}"));
    let in_pods = std::env::var("KUBERNETES_SERVICE_HOST").ok().map(|host| {
        let port = std::env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".to_owned());
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    });
    own.into_iter().chain(in_pods).collect()
}

/// An error in words for people: an answer's own message without the object around it.
pub(super) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => {
            format!("{} ({})", status.message, status.code)
        }
        error => told(error),
    }
}

/// Whether the API server answered with this status code.
pub(super) fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// Gives a call of the API server an end: the client has none for calls.
pub(super) async fn in_time<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    let answer = tokio::time::timeout(CALL_TIMEOUT, call).await;
    answer.unwrap_or_else(|_| Err(kube::Error::Service("the API server does not answer".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest idle time after which a load balancer in common use forgets a connection.
    const FORGOTTEN_AFTER: Duration = Duration::from_secs(240);

    #[test]
    fn a_silent_watch_ends_before_a_load_balancer_forgets_it() {
        let ends = Duration::from_secs(WATCH_SECONDS.into());
        assert!(ends + CALL_TIMEOUT < FORGOTTEN_AFTER, "the server's end of it must still arrive");
        assert!(ends < WATCH_TIMEOUT && WATCH_TIMEOUT < FORGOTTEN_AFTER, "we give up before that, too");
    }
}
