//! The client against real sockets: servers that behave, and servers that do not.

mod answers;
mod destinations;
mod files;
mod proxy;
mod servers;
mod tls;

use std::time::Duration;

use reqwest::{Method, Url};

use super::*;
use crate::secret::bounds::Bounds;

/// Long enough that no well-behaved exchange on loopback meets it.
const LONG: Duration = Duration::from_secs(30);
/// For servers that never finish: how long it is does not matter to the outcome.
const SHORT: Duration = Duration::from_millis(300);

fn client_with(allowed: &[&str], change: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config {
        destinations: DestinationPolicy::new(allowed.iter().map(|text| text.parse().unwrap()).collect()),
        ..Config::default()
    };
    change(&mut config);
    Client::new(config).unwrap()
}

fn client(allowed: &[&str]) -> Client {
    client_with(allowed, |_| {})
}

fn request(method: Method, url: &str, timeout: Duration) -> Request {
    Request {
        method,
        url: url.parse::<Url>().unwrap(),
        headers: Vec::new(),
        body: None,
        bounds: Bounds::default(),
        timeout,
    }
}

async fn get(client: &Client, url: &str) -> Result<Answer, Error> {
    client.send(request(Method::GET, url, LONG)).await
}
