//! The objects of the cluster: `objects/*.yaml`, large Services, and the Service of the server
//! itself.

use std::{fmt::Write, fs, net::IpAddr, path::Path, time::Duration};

use serde_json::Value;

use super::questions::{list, text};
use crate::support::lab::{Lab, until};

/// The objects as the API server returns them.
pub(crate) struct Cluster {
    pub(crate) namespaces: Vec<String>,
    pub(crate) services: Vec<Value>,
    pub(crate) imports: Vec<Value>,
    pub(crate) slices: Vec<Value>,
    pub(crate) pods: Vec<Value>,
}

impl Cluster {
    /// Creates all objects, and reads them back when the controllers are done.
    pub(crate) fn make(lab: &Lab, own: &[IpAddr]) -> Self {
        let file = |name: &str| {
            fs::read_to_string(
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diff/objects").join(name),
            )
            .unwrap()
        };
        let apply = |line: &str, yaml: &str| {
            if let Err(said) = lab.try_kubectl(&format!("apply --server-side {line}-f -"), yaml) {
                panic!("kubectl apply: {said}");
            }
        };
        let objects = [
            "cluster-ip.yaml",
            "digits.yaml",
            "headless.yaml",
            "external-name.yaml",
            "selected.yaml",
        ]
        .map(file);
        apply("", &(file("namespaces.yaml") + "---\n" + &file("multicluster.yaml")));
        apply("", &(objects.join("---\n") + "---\n" + &generated(own)));
        // The API server needs a moment before it serves a new kind.
        let imports = file("imports.yaml");
        until("ServiceImports", Duration::from_secs(20), || {
            lab.try_kubectl("apply --server-side -f -", &imports).ok()
        });
        apply("--subresource=status ", &file("statuses.yaml"));
        lab.running("shop", "asker", &[&lab.lan.test_address().to_string()], true);
        until("the controllers' slices", Duration::from_secs(20), || {
            let cluster = Self::read(lab);
            let ready = |slice: &Value| {
                list(&slice["endpoints"]).filter(|it| it["conditions"]["ready"] == true).count()
            };
            let picked =
                |namespace, name| cluster.slices_of(namespace, name).map(ready).sum::<usize>();
            let done = picked("headless", "picked") == 2
                && picked("headless", "eager") == 3
                && picked("shop", "picked") == 1;
            done.then_some(cluster)
        })
    }

    fn read(lab: &Lab) -> Self {
        let items =
            |path: &str| lab.get(path)["items"].take().as_array().cloned().unwrap_or_default();
        Self {
            namespaces: items("/api/v1/namespaces")
                .iter()
                .map(|it| text(&it["metadata"]["name"]).to_owned())
                .collect(),
            services: items("/api/v1/services"),
            imports: items("/apis/multicluster.x-k8s.io/v1alpha1/serviceimports"),
            slices: items("/apis/discovery.k8s.io/v1/endpointslices"),
            pods: items("/api/v1/pods"),
        }
    }

    pub(crate) fn slices_of<'c>(
        &'c self,
        namespace: &'c str,
        service: &'c str,
    ) -> impl Iterator<Item = &'c Value> {
        self.slices.iter().filter(move |slice| {
            let meta = &slice["metadata"];
            text(&meta["namespace"]) == namespace
                && text(&meta["labels"]["kubernetes.io/service-name"]) == service
        })
    }
}

/// Headless Services with many endpoints, 100 in each slice as the controllers do it, and CoreDNS's
/// Service with the tested server as its endpoint.
fn generated(own: &[IpAddr]) -> String {
    let mut yaml = String::new();
    for (name, endpoints) in [("one", 1), ("forty", 40), ("many", 1000)] {
        yaml += &service("headless", name, "clusterIP: None, ports: [{name: http, port: 80}]");
        for (at, first) in (0..endpoints).step_by(100).enumerate() {
            // Every second endpoint has a host name.
            let endpoint = |number: usize| {
                let hostname = if number.is_multiple_of(2) {
                    format!(", hostname: {name}-{number}")
                } else {
                    String::new()
                };
                format!(
                    "- {{addresses: [10.245.{}.{}]{hostname}}}\n",
                    number / 250 + endpoints % 7,
                    number % 250
                )
            };
            let list: String = (first..endpoints.min(first + 100)).map(endpoint).collect();
            yaml += &slice(
                "headless",
                &format!("{name}-{at}"),
                name,
                "IPv4",
                &list,
                "- {name: http, port: 8080}\n",
            );
        }
    }
    yaml += &service(
        "kube-system",
        "kube-dns",
        "clusterIP: 10.96.0.10, ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}]",
    );
    let ports = "- {name: dns, port: 53, protocol: UDP}\n- {name: dns-tcp, port: 53}\n";
    let v4: String = own
        .iter()
        .filter(|address| address.is_ipv4())
        .map(|address| format!("- {{addresses: [{address}]}}\n"))
        .collect();
    yaml + &slice("kube-system", "kube-dns-1", "kube-dns", "IPv4", &v4, ports)
}

fn service(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n---\n"
    )
}

fn slice(
    namespace: &str,
    name: &str,
    service: &str,
    family: &str,
    endpoints: &str,
    ports: &str,
) -> String {
    let mut yaml = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n".to_owned();
    let labels = format!("{{kubernetes.io/service-name: {service}}}");
    writeln!(yaml, "metadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}\naddressType: {family}").unwrap();
    yaml + "endpoints:\n" + endpoints + "ports:\n" + ports + "---\n"
}
