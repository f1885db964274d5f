//! Resolving names, with every address judged before a connection is opened to it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::destination::Target;
use super::{DestinationPolicy, Error, ProxyUrl};

/// Where addresses of names come from.
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of a name.
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver: `/etc/hosts`, search domains and DNS.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

tokio::task_local! {
    /// What the request that is being sent by this task is for.
    ///
    /// reqwest's hook is told the name alone, and the policy asks for port and scheme too. The hook
    /// is called while the request's own future is polled, so this is always that request's target.
    pub(super) static TARGET: Target;
}

/// reqwest's DNS hook. It is called for every new connection to a name, and never for a literal.
#[derive(Clone)]
pub(super) struct GuardedResolver {
    pub(super) inner: Arc<dyn Resolver>,
    pub(super) policy: Arc<DestinationPolicy>,
    pub(super) proxy: Option<ProxyUrl>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        // Read here and not in the future below: that one may be polled by another task, when a
        // pooled connection comes free while this one is still being opened.
        let target = TARGET.try_with(Target::clone).ok();
        let found = self.inner.resolve(name.as_str());
        let policy = Arc::clone(&self.policy);
        let proxied = target.as_ref().is_some_and(|target| policy.is_proxied(target));
        // It may be anywhere: whoever runs the process has named it, and no manifest can.
        let is_the_proxy = proxied && self.proxy.as_ref().is_some_and(|proxy| proxy.is_named(name.as_str()));
        Box::pin(async move {
            // Nobody to judge for: better no connection than an unjudged one.
            let target = target
                .filter(|target| is_the_proxy || (!proxied && target.is_named(name.as_str())))
                .ok_or_else(|| Error::invalid("a name was resolved outside of a request"))?;
            let addresses = found.await?;
            // One refused address refuses the name: which of them is dialled is not ours to say.
            if !is_the_proxy {
                policy.check_addresses(&target, &addresses)?;
            }
            if addresses.is_empty() {
                return Err(io::Error::from(io::ErrorKind::NotFound).into());
            }
            // Port 0 stands for the URL's.
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
