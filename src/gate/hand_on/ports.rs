//! The way to the application.

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
    /// Sends it for an object of this namespace.
    ///
    /// # Errors
    /// As [`Client::send`] has them.
    fn send<'a>(&'a self, namespace: &'a Arc<str>, request: Request) -> BoxFuture<'a, Result<Answer, Error>>;
}

impl Exchange for Client {
    fn send<'a>(&'a self, namespace: &'a Arc<str>, request: Request) -> BoxFuture<'a, Result<Answer, Error>> {
        let client = self.on_behalf_of(Arc::clone(namespace));
        Box::pin(async move { client.send_for_beginning(request, LARGEST_ANSWER).await })
    }
}

/// Knows where a destination is.
pub trait Locate: Send + Sync {
    /// The URL of a destination of this receiver.
    ///
    /// # Errors
    /// Why there is none at this moment, in words for people.
    fn locate<'a>(&'a self, owner: &'a Owner, to: &'a Destination) -> BoxFuture<'a, Result<Url, String>>;
}

/// Finds a Service by its name, as whoever runs the process made it known there: in the DNS of a
/// Compose project, in `/etc/hosts`. Where there is a cluster, its API server is to be asked instead.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByName;

impl Locate for ByName {
    fn locate<'a>(&'a self, _owner: &'a Owner, to: &'a Destination) -> BoxFuture<'a, Result<Url, String>> {
        Box::pin(async move { by_name(to) })
    }
}

fn by_name(to: &Destination) -> Result<Url, String> {
    match to {
        Destination::Url(url) => Ok(url.clone()),
        Destination::Service { name, port, path } => {
            let slash = if path.starts_with('/') { "" } else { "/" };
            let url = format!("http://{name}:{port}{slash}{path}");
            Url::parse(&url)
                .map_err(|_| format!("forward.service: {name}:{port} with this path makes no URL"))
        }
    }
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
