//! Every address that a name has is judged before a connection is opened to it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::destination::Target;
use super::lookups::{Author, Lookups};
use super::{DestinationPolicy, Error, ProxyUrl};

/// What a request is for, and on whose behalf it is sent.
#[derive(Clone)]
pub(super) struct Purpose {
    pub(super) target: Target,
    pub(super) author: Author,
}

tokio::task_local! {
    /// What the request that is being sent by this task is for.
    ///
    /// reqwest's hook is told the name alone, and the policy asks for port and scheme too. The hook
    /// is called while the request's own future is polled, so this is always that request's purpose.
    pub(super) static PURPOSE: Purpose;
}

/// reqwest's DNS hook. It is called for every new connection to a name, and never for a literal.
#[derive(Clone)]
pub(super) struct GuardedResolver {
    pub(super) lookups: Lookups,
    pub(super) policy: Arc<DestinationPolicy>,
    pub(super) proxy: Option<ProxyUrl>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        // Read here and not in the future below: that one may be polled by another task, when a
        // pooled connection comes free while this one is still being opened.
        let purpose = PURPOSE.try_with(Purpose::clone).ok();
        let lookups = self.lookups.clone();
        let policy = Arc::clone(&self.policy);
        let proxied = purpose.as_ref().is_some_and(|purpose| policy.is_proxied(&purpose.target));
        // It may be anywhere: whoever runs the process has named it, and no manifest can.
        let is_the_proxy = proxied && self.proxy.as_ref().is_some_and(|proxy| proxy.is_named(name.as_str()));
        Box::pin(async move {
            // Nobody to judge for: better no connection than an unjudged one.
            let Purpose { target, author } = purpose
                .filter(|purpose| is_the_proxy || (!proxied && purpose.target.is_named(name.as_str())))
                .ok_or_else(|| Error::invalid("a name was resolved outside of a request"))?;
            let found = lookups.find(&author, name.as_str()).await;
            let addresses = found.map_err(|given_up| Error::ResolveTimeout {
                host: target.to_string(),
                limit: lookups.limit,
                problem: given_up.problem(),
            })??;
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
