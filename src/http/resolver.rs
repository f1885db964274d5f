//! Where addresses of names come from.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::thread;

use futures::future::BoxFuture;
use tokio::sync::oneshot;

/// Where addresses of names come from.
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of a name.
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver: `/etc/hosts`, search domains and DNS.
///
/// It cannot be told to give up, so each name has a thread of its own while it is looked up: those that
/// the runtime has for files would wait with it. Whoever calls sees to it that they are not too many.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            thread::Builder::new().name("lookup".to_owned()).spawn(move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                // Nobody may wait any more.
                let _ = sender.send(found.map(|found| found.map(|address| address.ip()).collect()));
            })?;
            receiver.await.unwrap_or_else(|_| Err(io::Error::other("the lookup has no answer")))
        })
    }
}
