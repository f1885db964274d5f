//! The way to the application.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use url::Url;

use crate::gate::receiver::Destination;
use crate::http::{Answer, Client, Error, Request};
use crate::store::Owner;

/// So much of an answer is read: no more is passed on, and whatever is longer costs its connection.
pub const LARGEST_ANSWER: usize = 64 * 1024;

/// Sends one request, once.
pub trait Exchange: Send + Sync {
    /// Sends it for an object of this namespace; to this address, if one is given ([`Place::address`]).
    ///
    /// # Errors
    /// As [`Client::send`] has them.
    fn send<'a>(
        &'a self,
        namespace: &'a Arc<str>,
        at: Option<SocketAddr>,
        request: Request,
    ) -> BoxFuture<'a, Result<Answer, Error>>;
}

impl Exchange for Client {
    fn send<'a>(
        &'a self,
        namespace: &'a Arc<str>,
        at: Option<SocketAddr>,
        request: Request,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        let client = self.on_behalf_of(Arc::clone(namespace));
        let client = at.map_or_else(|| client.clone(), |address| client.at(address));
        Box::pin(async move { client.send_for_beginning(request, LARGEST_ANSWER).await })
    }
}

/// Where a destination is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its URL.
    pub url: Url,
    /// Its address, where somebody who knows has said it: the host of the URL is not resolved then, and
    /// nobody else has to allow it.
    pub address: Option<SocketAddr>,
}

impl From<Url> for Place {
    fn from(url: Url) -> Self {
        Self { url, address: None }
    }
}

/// Begins why there is no way to a destination that nothing may be handed on to; what follows is for people.
pub const NOT_ALLOWED: &str = "DestinationNotAllowed: ";

/// Knows where a destination is.
pub trait Locate: Send + Sync {
    /// Where a destination of this receiver is.
    ///
    /// # Errors
    /// Why it is nowhere at this moment, in words for people; with [`NOT_ALLOWED`] before them where a person
    /// has to change something.
    fn locate<'a>(&'a self, owner: &'a Owner, to: &'a Destination) -> BoxFuture<'a, Result<Place, String>>;
}

/// Finds a Service by its name, as whoever runs the process made it known there: in the DNS of a
/// Compose project, in `/etc/hosts`. Where there is a cluster, its API server is to be asked instead.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByName;

impl Locate for ByName {
    fn locate<'a>(&'a self, _owner: &'a Owner, to: &'a Destination) -> BoxFuture<'a, Result<Place, String>> {
        Box::pin(async move { by_name(to).map(Place::from) })
    }
}

fn by_name(to: &Destination) -> Result<Url, String> {
    match to {
        Destination::Url(url) => Ok(url.clone()),
        Destination::Service { name, port, path } => url_of_service(name, *port, path),
    }
}

/// The URL of a Service at this host.
///
/// # Errors
/// When these make none, in words for people.
pub fn url_of_service(host: &str, port: u16, path: &str) -> Result<Url, String> {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let url = format!("http://{host}:{port}{slash}{path}");
    Url::parse(&url).map_err(|_| format!("forward.service: {host}:{port} with this path makes no URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_name_outside_a_cluster() {
        let to = |path: &str| Destination::Service { name: "billing".into(), port: 8080, path: path.into() };
        for (path, url) in [
            ("/qualp", "http://billing:8080/qualp"),
            ("/a?b=c", "http://billing:8080/a?b=c"),
            ("/", "http://billing:8080/"),
            ("", "http://billing:8080/"),
            ("//evil.example/", "http://billing:8080//evil.example/"),
            ("@evil.example/", "http://billing:8080/@evil.example/"),
        ] {
            assert_eq!(by_name(&to(path)).unwrap().as_str(), url);
        }
        let url: Url = "https://billing.example/x".parse().unwrap();
        assert_eq!(by_name(&Destination::Url(url.clone())), Ok(url));
    }
}
