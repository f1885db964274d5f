use super::*;

/// The shortest useful file, as the documentation prints it.
const SHORTEST: &str = "\
# kubectl create secret generic gupy-api --from-literal=token=…
# kubectl create secret generic integration-client --from-literal=secret=…
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookProvider
metadata: {name: gupy}
spec:
  preset: gupy
  auth:
    bearer: {secretKeyRef: {name: gupy-api, key: token}}
---
apiVersion: hookkeeper.dev/v1alpha1
kind: WebhookSubscription
metadata: {name: application-completed}
spec:
  providerRef: {name: gupy}
  action: application.completed
  postbackUrl: https://integrations.example.com/gupy
  clientHeaders:
    - {name: token, valueFrom: {token: {}}}
  tokenSource:
    oauth2:
      tokenUrl: https://auth.example.com/oauth/token
      clientId: {value: hr-integration}
      clientSecret: {secretKeyRef: {name: integration-client, key: secret}}
";

fn all(text: &str) -> Vec<Document> {
    read(text)
        .into_iter()
        .map(|result| result.unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

fn only_error(text: &str) -> DocumentError {
    let mut results = read(text);
    assert_eq!(results.len(), 1, "{results:?}");
    results.remove(0).unwrap_err()
}

#[test]
fn the_shortest_useful_file_is_read() {
    let documents = all(SHORTEST);
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0].key().to_string(), "default/gupy");
    assert_eq!(documents[1].position.document, 2);
    assert_eq!(documents[1].position.line, 10);
    let Manifest::WebhookSubscription(spec) = &documents[1].manifest else {
        panic!("{documents:?}");
    };
    assert_eq!(spec.provider_ref.name, "gupy");
    assert_eq!(documents[1].spec_digest.len(), 64);
}
