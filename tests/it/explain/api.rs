//! A small API server for `explain`: it serves lists and single objects, rejects forbidden
//! resources, and forwards ports of Pods.

mod forward;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

/// Each kind with its group and version, and its resource.
const KINDS: &[(&str, &str, &str)] = &[
    ("Namespace", "v1", "namespaces"),
    ("Service", "v1", "services"),
    ("Pod", "v1", "pods"),
    ("Node", "v1", "nodes"),
    ("Event", "v1", "events"),
    ("ConfigMap", "v1", "configmaps"),
    ("Secret", "v1", "secrets"),
    ("EndpointSlice", "discovery.k8s.io/v1", "endpointslices"),
    ("Ingress", "networking.k8s.io/v1", "ingresses"),
    ("IngressClass", "networking.k8s.io/v1", "ingressclasses"),
    ("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies"),
    ("Deployment", "apps/v1", "deployments"),
    ("StatefulSet", "apps/v1", "statefulsets"),
    ("DaemonSet", "apps/v1", "daemonsets"),
    ("ReplicaSet", "apps/v1", "replicasets"),
    ("ClusterRole", "rbac.authorization.k8s.io/v1", "clusterroles"),
    ("ClusterRoleBinding", "rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    ("Gateway", "gateway.networking.k8s.io/v1", "gateways"),
    ("GatewayClass", "gateway.networking.k8s.io/v1", "gatewayclasses"),
    ("HTTPRoute", "gateway.networking.k8s.io/v1", "httproutes"),
    ("GRPCRoute", "gateway.networking.k8s.io/v1", "grpcroutes"),
    ("TLSRoute", "gateway.networking.k8s.io/v1alpha2", "tlsroutes"),
    ("ReferenceGrant", "gateway.networking.k8s.io/v1beta1", "referencegrants"),
];

struct State {
    objects: Vec<Value>,
    rights: Rights,
    /// The sockets behind the ports of Pods.
    ports: Vec<PodPort>,
}

/// What the account may read.
#[derive(Clone, Default)]
pub(crate) struct Rights {
    /// Resources that it may not read.
    pub(crate) forbidden: Vec<String>,
    /// The only namespaces that it may read; all if the list is empty.
    pub(crate) namespaces: Vec<String>,
}

impl Rights {
    pub(crate) fn without(forbidden: &[&str]) -> Self {
        let forbidden = forbidden.iter().map(|it| (*it).to_owned()).collect();
        Self { forbidden, ..Self::default() }
    }

    /// Reads `without RESOURCE …` or `in NAMESPACE …`.
    pub(crate) fn read(words: &str) -> Self {
        let (kind, rest) = words.split_once(' ').unwrap_or((words, ""));
        let list = rest.split_whitespace().map(str::to_owned).collect();
        match kind {
            "without" => Self { forbidden: list, ..Self::default() },
            "in" => Self { namespaces: list, ..Self::default() },
            _ => panic!("live {words}"),
        }
    }

    fn allow(&self, resources: [&str; 2], namespace: Option<&str>) -> bool {
        let is_there = |namespace: &str| self.namespaces.iter().any(|it| it == namespace);
        !self.forbidden.iter().any(|it| resources.contains(&it.as_str()))
            && (self.namespaces.is_empty() || namespace.is_some_and(is_there))
    }
}

/// A port of a Pod, and the socket that stands for it.
#[derive(Clone)]
pub(crate) struct PodPort {
    pub(crate) pod: &'static str,
    pub(crate) port: u16,
    pub(crate) address: SocketAddr,
}

/// Starts the server, and writes a kubeconfig for it. The threads end with the process.
pub(crate) fn start(objects: Vec<Value>, rights: Rights, kubeconfig: &Path) {
    start_with_ports(objects, rights, &[], kubeconfig);
}

/// Starts a server that forwards these ports of Pods, too.
pub(crate) fn start_with_ports(
    objects: Vec<Value>,
    rights: Rights,
    ports: &[PodPort],
    kubeconfig: &Path,
) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "clusters": [{ "name": "test", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "test", "user": {} }],
    });
    std::fs::write(kubeconfig, text.to_string()).unwrap();
    let state = Arc::new(State { objects, rights, ports: ports.to_vec() });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            std::thread::spawn(move || serve(&stream, &state));
        }
    });
}

/// Answers the requests of one connection. An error ends it.
fn serve(mut stream: &TcpStream, state: &State) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut length, mut key) = (0, None);
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("sec-websocket-key")
            {
                key = Some(value.trim().to_owned());
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        if let Some(key) = key
            && !state.rights.forbidden.iter().any(|it| it == "pods/portforward")
        {
            return forward::serve(stream, &path, &key, &state.ports);
        }
        let (status, body) = reply(state, path.split('?').next().unwrap_or_default());
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

fn reply(state: &State, path: &str) -> (&'static str, Value) {
    let failure = |code: u16, reason: &str| json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": format!("{path}: {reason}"), "reason": reason, "code": code });
    let rest = path.strip_prefix("/api/").or_else(|| path.strip_prefix("/apis/"));
    let found = rest.and_then(|rest| {
        KINDS.iter().find_map(|(kind, version, resource)| {
            let mut parts: Vec<&str> =
                rest.strip_prefix(version)?.strip_prefix('/')?.split('/').collect();
            let namespace = (parts.first() == Some(&"namespaces") && parts.len() > 2).then(|| {
                let namespace = parts[1].to_owned();
                parts.drain(..2);
                namespace
            });
            let name = parts.get(1).map(|name| (*name).to_owned());
            (parts.first() == Some(resource))
                .then_some((*kind, *version, *resource, namespace, name))
        })
    });
    let Some((kind, version, resource, namespace, name)) = found else {
        return ("404 Not Found", failure(404, "NotFound"));
    };
    let subresource = format!("{resource}/{}", path.rsplit('/').next().unwrap_or_default());
    if !state.rights.allow([resource, &subresource], namespace.as_deref()) {
        return ("403 Forbidden", failure(403, "Forbidden"));
    }
    let text = |object: &Value, pointer: &str| {
        object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let items: Vec<Value> = state
        .objects
        .iter()
        .filter(|it| it["kind"] == kind)
        .filter(|it| {
            namespace.as_ref().is_none_or(|own| text(it, "/metadata/namespace") == *own)
                && name.as_ref().is_none_or(|own| text(it, "/metadata/name") == *own)
        })
        .cloned()
        .collect();
    match (name, items.into_iter()) {
        (Some(_), mut items) => match items.next() {
            Some(item) => ("200 OK", item),
            None => ("404 Not Found", failure(404, "NotFound")),
        },
        (None, items) => (
            "200 OK",
            json!({ "kind": format!("{kind}List"), "apiVersion": version, "metadata": { "resourceVersion": "1" }, "items": items.collect::<Vec<_>>() }),
        ),
    }
}
