//! Where the Services are that receivers hand on to, as the API server says: never a name server.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::api::ObjectKey;
use crate::gate::hand_on::{Locate, NOT_ALLOWED, Place, url_of_service};
use crate::gate::receiver::Destination;
use crate::kubernetes::client::{in_time, is, words};
use crate::store::Owner;

/// How long what was read of a Service is believed.
const FRESH_FOR: Duration = Duration::from_secs(10);
/// How long it is believed when it cannot be read again.
const LAST_KNOWN: Duration = Duration::from_secs(10 * 60);
/// How many Services are remembered.
const MOST: usize = 4_096;

/// What is known of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// It has this address and these TCP ports.
    At(IpAddr, Vec<u16>),
    /// There is none of this name.
    Absent,
    /// There is no address of its own that could be connected to; this is why.
    Nowhere(&'static str),
}

struct Seen {
    at: Instant,
    found: Found,
}

type Slot = Arc<Mutex<Option<Seen>>>;

/// Finds Services. A name that leads elsewhere, into another namespace or out of the cluster, is never
/// followed.
#[derive(Clone)]
pub struct Services {
    client: Client,
    /// One slot for each Service in use, so that all who need one wait for the same read.
    slots: Arc<Mutex<HashMap<ObjectKey, (Instant, Slot)>>>,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Services")
    }
}

impl Services {
    pub(super) fn new(client: Client) -> Self {
        Self { client, slots: Arc::default() }
    }

    async fn find(&self, key: &ObjectKey) -> Result<Found, String> {
        let slot = self.slot(key).await;
        let mut slot = slot.lock().await;
        if let Some(seen) = slot.as_ref().filter(|seen| seen.at.elapsed() < FRESH_FOR) {
            return Ok(seen.found.clone());
        }
        let at = Instant::now();
        let services: Api<Service> = Api::namespaced(self.client.clone(), &key.namespace);
        let found = match in_time(services.get(&key.name)).await {
            Ok(service) => found(&service),
            Err(error) if is(&error, 404) => Found::Absent,
            Err(error) => {
                let last = slot.as_ref().filter(|seen| seen.at.elapsed() < LAST_KNOWN);
                return last.map(|seen| seen.found.clone()).ok_or_else(|| {
                    format!("the Service {} cannot be read from the API server: {}", key.name, words(&error))
                });
            }
        };
        *slot = Some(Seen { at, found: found.clone() });
        Ok(found)
    }

    async fn slot(&self, key: &ObjectKey) -> Slot {
        let now = Instant::now();
        let mut slots = self.slots.lock().await;
        if let Some((used, slot)) = slots.get_mut(key) {
            *used = now;
            return Arc::clone(slot);
        }
        if slots.len() >= MOST {
            slots.retain(|_, (used, slot)| {
                now.duration_since(*used) < FRESH_FOR || Arc::strong_count(slot) > 1
            });
        }
        let slot = Slot::default();
        // Beyond that it is read each time.
        if slots.len() < MOST {
            slots.insert(key.clone(), (now, Arc::clone(&slot)));
        }
        slot
    }

    async fn place(&self, owner: &Owner, to: &Destination) -> Result<Place, String> {
        let (name, port, path) = match to {
            Destination::Url(url) => return Ok(url.clone().into()),
            Destination::Service { name, port, path } => (name, *port, path),
        };
        if is_the_api_server(&owner.namespace, name) {
            return Err(format!("{NOT_ALLOWED}the Service {name} is the API server"));
        }
        match self.find(&ObjectKey::new(&owner.namespace, name)).await? {
            Found::At(address, ports) if ports.contains(&port) => {
                // By this name an application is reached in every cluster, whatever its domain.
                let url = url_of_service(&format!("{name}.{}.svc", owner.namespace), port, path)?;
                Ok(Place { url, address: Some(SocketAddr::new(address, port)) })
            }
            Found::At(..) => Err(format!(
                "{NOT_ALLOWED}the Service {name} has no TCP port {port}; correct forward.service.port"
            )),
            Found::Absent => Err(format!(
                "there is no Service {name} in this namespace; create it, or correct forward.service"
            )),
            Found::Nowhere(why) => Err(format!("{NOT_ALLOWED}the Service {name} {why}")),
        }
    }
}

impl Locate for Services {
    fn locate<'a>(&'a self, owner: &'a Owner, to: &'a Destination) -> BoxFuture<'a, Result<Place, String>> {
        Box::pin(self.place(owner, to))
    }
}

/// The Service by which every cluster gives its API server to its pods.
fn is_the_api_server(namespace: &str, name: &str) -> bool {
    namespace == "default" && name == "kubernetes"
}

fn found(service: &Service) -> Found {
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        return Found::Nowhere(
            "is of type ExternalName, which may lead anywhere; name what it leads to in forward.url",
        );
    }
    let address = match spec.cluster_ip.as_deref() {
        None | Some("" | "None") => {
            return Found::Nowhere("is headless; give it a clusterIP, or name another Service");
        }
        Some(address) => address.parse::<IpAddr>(),
    };
    let Ok(address) = address else { return Found::Nowhere("has a clusterIP that is no IP address") };
    if address.is_loopback() || address.is_unspecified() || is_link_local(address) {
        return Found::Nowhere("has a clusterIP that belongs to each machine itself");
    }
    let is_tcp = |protocol: Option<&str>| protocol.is_none_or(|protocol| protocol == "TCP");
    let ports = spec.ports.unwrap_or_default();
    let ports = ports.iter().filter(|port| is_tcp(port.protocol.as_deref()));
    Found::At(address, ports.filter_map(|port| u16::try_from(port.port).ok()).collect())
}

/// Link-local addresses (RFC 3927, RFC 4291): metadata services of clouds are there.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Shared;

    use hyper::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    /// An API server that answers every read of a Service so.
    #[derive(Clone)]
    struct Server {
        answer: Arc<Shared<(u16, Value)>>,
        reads: Arc<Shared<Vec<String>>>,
    }

    impl Server {
        fn new(spec: &Value) -> (Self, Services) {
            let server = Self { answer: Arc::default(), reads: Arc::default() };
            server.now_has(spec);
            let own = server.clone();
            let service = service_fn(move |request: Request<Body>| {
                own.reads.lock().unwrap().push(request.uri().path().to_owned());
                let (code, answer) = own.answer.lock().unwrap().clone();
                let body = Body::from(answer.to_string().into_bytes());
                let answer = Response::builder().status(code).body(body).unwrap();
                async { Ok::<_, std::convert::Infallible>(answer) }
            });
            (server, Services::new(Client::new(service, "hr")))
        }

        fn now_has(&self, spec: &Value) {
            *self.answer.lock().unwrap() = (200, json!({ "metadata": {}, "spec": spec }));
        }

        fn refuses(&self, code: u16) {
            let status =
                json!({ "kind": "Status", "code": code, "reason": "x", "message": "services is forbidden" });
            *self.answer.lock().unwrap() = (code, status);
        }

        fn reads(&self) -> usize {
            self.reads.lock().unwrap().len()
        }
    }

    fn owner(namespace: &str) -> Owner {
        Owner { namespace: namespace.into(), name: "events".into(), uid: "u".into() }
    }

    fn to(name: &str, port: u16) -> Destination {
        Destination::Service { name: name.into(), port, path: "/in?a=b".into() }
    }

    fn spec() -> Value {
        json!({ "clusterIP": "10.96.0.7", "ports": [
            { "port": 8080 }, { "port": 53, "protocol": "UDP" }, { "port": 9090, "protocol": "TCP" },
        ] })
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_is_at_its_cluster_ip_and_is_told_its_own_name() {
        let (server, services) = Server::new(&spec());
        let place = services.locate(&owner("hr"), &to("app", 8080)).await.unwrap();
        assert_eq!(place.url.as_str(), "http://app.hr.svc:8080/in?a=b");
        assert_eq!(place.address, Some("10.96.0.7:8080".parse().unwrap()));
        assert_eq!(*server.reads.lock().unwrap(), ["/api/v1/namespaces/hr/services/app"]);
        server.now_has(&json!({ "clusterIP": "fd00::7", "ports": [{ "port": 8080 }] }));
        let again = services.locate(&owner("hr"), &to("app", 8080)).await.unwrap();
        assert_eq!((again, server.reads()), (place, 1), "it is remembered for a while");
        tokio::time::advance(FRESH_FOR).await;
        let place = services.locate(&owner("hr"), &to("app", 8080)).await.unwrap();
        assert_eq!(place.address, Some("[fd00::7]:8080".parse().unwrap()));
        let url: url::Url = "https://app.example/".parse().unwrap();
        let place = services.locate(&owner("hr"), &Destination::Url(url.clone())).await.unwrap();
        assert_eq!(place, Place::from(url), "a URL is judged by whoever sends");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_handed_on_to_what_may_lead_elsewhere() {
        let ports = json!([{ "port": 8080 }]);
        for (spec, says) in [
            (
                json!({ "type": "ExternalName", "externalName": "kubernetes.default.svc", "ports": ports }),
                "ExternalName",
            ),
            (
                json!({ "type": "ExternalName", "externalName": "169.254.169.254", "clusterIP": "10.96.0.7" }),
                "ExternalName",
            ),
            (json!({ "clusterIP": "None", "ports": ports }), "headless"),
            (json!({ "clusterIP": "", "ports": ports }), "headless"),
            (json!({ "ports": ports }), "headless"),
            (json!({ "clusterIP": "127.0.0.1", "ports": ports }), "each machine itself"),
            (json!({ "clusterIP": "169.254.169.254", "ports": ports }), "each machine itself"),
            (json!({ "clusterIP": "fe80::1", "ports": ports }), "each machine itself"),
            (json!({ "clusterIP": "name.example", "ports": ports }), "no IP address"),
            (json!({ "clusterIP": "10.96.0.7", "ports": [{ "port": 8081 }] }), "no TCP port 8080"),
            (
                json!({ "clusterIP": "10.96.0.7", "ports": [{ "port": 8080, "protocol": "UDP" }] }),
                "no TCP port 8080",
            ),
            (json!({ "clusterIP": "10.96.0.7" }), "no TCP port 8080"),
        ] {
            let (_, services) = Server::new(&spec);
            let why = services.locate(&owner("hr"), &to("app", 8080)).await.unwrap_err();
            assert!(
                why.starts_with("DestinationNotAllowed: the Service app ") && why.contains(says),
                "{why}"
            );
        }
        let (server, services) = Server::new(&spec());
        let why = services.locate(&owner("default"), &to("kubernetes", 8080)).await.unwrap_err();
        assert!(why.contains("is the API server") && server.reads() == 0, "{why}");
        assert!(
            services.locate(&owner("hr"), &to("kubernetes", 8080)).await.is_ok(),
            "somebody's own Service"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_known_is_believed_while_the_api_server_is_away_and_what_is_deleted_is_not() {
        let (server, services) = Server::new(&spec());
        let (owner, to) = (owner("hr"), to("app", 8080));
        let place = services.locate(&owner, &to).await;
        assert!(place.is_ok());
        server.refuses(500);
        tokio::time::advance(LAST_KNOWN - Duration::from_secs(1)).await;
        assert_eq!(services.locate(&owner, &to).await, place);
        tokio::time::advance(Duration::from_secs(1)).await;
        let why = services.locate(&owner, &to).await.unwrap_err();
        assert!(
            why.contains("the Service app cannot be read") && why.contains("services is forbidden"),
            "{why}"
        );
        server.now_has(&spec());
        assert_eq!(services.locate(&owner, &to).await, place);
        server.refuses(404);
        tokio::time::advance(FRESH_FOR).await;
        let why = services.locate(&owner, &to).await.unwrap_err();
        assert!(why.contains("there is no Service app"), "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_remembered() {
        let (_, services) = Server::new(&spec());
        for number in 0..MOST + 10 {
            let _ = services.locate(&owner("hr"), &to(&format!("app-{number}"), 8080)).await;
        }
        assert_eq!(services.slots.lock().await.len(), MOST);
        tokio::time::advance(FRESH_FOR).await;
        let _ = services.locate(&owner("hr"), &to("new", 8080)).await;
        assert_eq!(services.slots.lock().await.len(), 1);
    }
}
