//! The table, and everything that must agree with it.
#![expect(clippy::disallowed_methods, reason = "a test reads files")]

use std::{collections::BTreeSet, path::Path};

use serde_json::{Map, Value, json};

use super::*;
use crate::source::manifests::Manifests;

/// An object of a kind in a version, with the fields that make it a fact of `default/x` or `x`.
fn sample(kind: &KindDescriptor, version: &Version) -> Value {
    let mut object = match kind.name {
        "Service" => json!({ "spec": { "clusterIP": "10.96.7.7", "ports": [{ "port": 80 }] } }),
        "EndpointSlice" => json!({
            "metadata": { "labels": { SERVICE_NAME: "web" } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["10.0.0.1"] }],
        }),
        "Endpoints" => json!({ "subsets": [{ "addresses": [{ "ip": "10.0.0.1" }] }] }),
        "Pod" => json!({ "status": { "podIP": "10.0.0.1" } }),
        "ClusterRoleBinding" => {
            json!({ "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x" } })
        }
        _ => json!({}),
    };
    object["apiVersion"] = version.api_version.into();
    object["kind"] = kind.name.into();
    object["metadata"]["name"] = "x".into();
    object
}

#[test]
fn every_kind_and_version_in_a_manifest_is_a_fact_and_an_object() {
    let directory = tempfile::tempdir().unwrap();
    let read = |value: &Value| {
        std::fs::write(directory.path().join("x.json"), value.to_string()).unwrap();
        Manifests::open(directory.path(), None).unwrap().read()
    };
    for kind in ALL {
        for version in kind.versions {
            let update = read(&sample(kind, version));
            let name = format!("{} {}", version.api_version, kind.name);
            assert_eq!(update.errors, [], "{name}");
            let object = update
                .objects
                .iter()
                .find(|it| it.kind.name == kind.name && it.name == "x")
                .unwrap_or_else(|| panic!("{name} is not an object"));
            let namespace = if kind.scope == Scope::Namespaced { "default" } else { "" };
            assert_eq!(object.namespace, namespace, "{name}");
            let mut store = ObjectStore::default();
            object.store(&mut store).unwrap_or_else(|error| panic!("{name}: {error}"));
            let fact = match &kind.dns {
                DnsUse::Facts(watched) => watched.fact,
                DnsUse::Manifests => Kind::EndpointSlice,
                DnsUse::None => {
                    assert_eq!(update.unused, 1, "{name}");
                    continue;
                }
            };
            // Every cluster has some Namespaces, and the Service of its API server.
            let of_cluster = read(&json!({ "kind": "List", "items": [] })).count(fact);
            assert_eq!(update.count(fact), of_cluster + 1, "{name}");
            assert_eq!(update.unused, 0, "{name}");
        }
    }
}

#[test]
fn every_fact_has_one_kind_and_the_table_has_no_duplicates() {
    for fact in Kind::ALL {
        let of_fact = ALL.iter().filter(|it| it.watched().is_some_and(|it| it.fact == fact));
        assert_eq!(of_fact.map(|it| it.name).collect::<Vec<_>>(), [fact.name()]);
    }
    let names: BTreeSet<_> = ALL.iter().map(|it| (it.group(), it.name)).collect();
    let plurals: BTreeSet<_> = ALL.iter().map(|it| (it.group(), it.plural)).collect();
    assert_eq!((names.len(), plurals.len()), (ALL.len(), ALL.len()));
}

#[test]
fn paths_are_those_of_the_api() {
    let check = |kind: &KindDescriptor, namespace: &str, expected: &[&str]| {
        let paths: Vec<_> = kind.served().iter().map(|it| kind.path(it, namespace)).collect();
        assert_eq!(paths, expected);
    };
    check(&POD, "", &["/api/v1/pods"]);
    check(&CONFIG_MAP, "kube-system", &["/api/v1/namespaces/kube-system/configmaps"]);
    check(
        &GATEWAY,
        "",
        &[
            "/apis/gateway.networking.k8s.io/v1/gateways",
            "/apis/gateway.networking.k8s.io/v1beta1/gateways",
            "/apis/gateway.networking.k8s.io/v1alpha2/gateways",
        ],
    );
    // An API server is not asked for `extensions`: RBAC does not grant it.
    check(
        &INGRESS,
        "shop",
        &[
            "/apis/networking.k8s.io/v1/namespaces/shop/ingresses",
            "/apis/networking.k8s.io/v1beta1/namespaces/shop/ingresses",
        ],
    );
    assert_eq!(
        (POD.resource(), INGRESS.resource()),
        ("pods".into(), "ingresses.networking.k8s.io".into())
    );
}

#[test]
fn kinds_are_recognized_by_group_and_name() {
    let check = |api_version, kind, expected: Option<&str>| {
        let found = find(api_version, kind).map(|(_, version)| version.api_version);
        assert_eq!(found, expected, "{api_version} {kind}");
    };
    check("extensions/v1beta1", "Ingress", Some("extensions/v1beta1"));
    check("networking.k8s.io/v1beta1", "Ingress", Some("networking.k8s.io/v1beta1"));
    check("networking.k8s.io/v7", "Ingress", Some("networking.k8s.io/v1"));
    check("", "Service", Some("v1"));
    check("serving.knative.dev/v1", "Service", None);
    check("v1", "Deployment", None);
}

/// An Ingress in the oldest format, which old notes and tutorials still have.
const OLD_INGRESS: &str = r#"{
    "apiVersion": "extensions/v1beta1", "kind": "Ingress", "metadata": { "name": "cafe" },
    "spec": {
        "backend": { "serviceName": "default-http-backend", "servicePort": 80 },
        "rules": [{ "host": "cafe.example.com", "http": { "paths": [
            { "path": "/tea", "backend": { "serviceName": "tea-svc", "servicePort": 80 } },
            { "path": "/coffee", "backend": { "serviceName": "coffee-svc", "servicePort": "http" } }
        ] } }]
    }
}"#;

#[test]
fn an_old_ingress_has_the_shape_of_a_new_one() {
    let value: Value = serde_json::from_str(OLD_INGRESS).unwrap();
    let object = ApiObject::recognize(value).unwrap().unwrap();
    let Ok(Some(Object::Ingress(fact))) = object.decode().unwrap().fact else {
        panic!("it is not a fact")
    };
    assert_eq!(&*fact.hosts, &[Box::from("cafe.example.com")]);
    // The API server decodes the same text with the same function.
    let version = find("extensions/v1beta1", "Ingress").unwrap().1;
    let decoded = INGRESS.decode(version, Encoded::Json(OLD_INGRESS)).unwrap();
    assert_eq!(decoded.fact.unwrap().unwrap().key().name, "cafe".into());

    let mut store = ObjectStore::default();
    object.store(&mut store).unwrap();
    let [ingress] = store.all::<k8s_openapi::api::networking::v1::Ingress>() else { panic!() };
    let spec = ingress.spec.as_ref().unwrap();
    let default = spec.default_backend.as_ref().unwrap().service.as_ref().unwrap();
    assert_eq!(default.name, "default-http-backend");
    let http = spec.rules.as_ref().unwrap()[0].http.as_ref().unwrap();
    let paths: Vec<_> = http
        .paths
        .iter()
        .map(|path| {
            let service = path.backend.service.as_ref().unwrap();
            let port = service.port.as_ref().unwrap();
            let path_type = path.path_type.as_str();
            (path.path.as_deref(), &*service.name, port.number, port.name.as_deref(), path_type)
        })
        .collect();
    let any = "ImplementationSpecific";
    assert_eq!(
        paths,
        [
            (Some("/tea"), "tea-svc", Some(80), None, any),
            (Some("/coffee"), "coffee-svc", None, Some("http"), any),
        ]
    );
}

#[test]
fn an_old_slice_has_zones_and_nodes_in_labels() {
    let slice = json!({
        "metadata": { "name": "x", "namespace": "shop", "labels": { SERVICE_NAME: "web" } },
        "endpoints": [{
            "addresses": ["10.0.0.1"],
            "topology": { "topology.kubernetes.io/zone": "a", "kubernetes.io/hostname": "n" },
        }],
    });
    let old = &ENDPOINT_SLICE.versions[1];
    let decoded = ENDPOINT_SLICE.decode(old, Encoded::Json(&slice.to_string())).unwrap();
    let Ok(Some(Object::EndpointSlice(fact))) = decoded.fact else { panic!("it is not a fact") };
    assert_eq!(fact.endpoints.iter().next().unwrap().zone(), Some("a"));
    assert_eq!(fact.endpoints.iter().next().unwrap().node().map(|node| &**node), Some("n"));
}

#[test]
fn an_object_with_a_wrong_field_still_has_its_name() {
    let wrong = r#"{ "metadata": { "name": "web" }, "spec": { "ports": 7 } }"#;
    let decoded = SERVICE.decode(SERVICE.newest(), Encoded::Json(wrong)).unwrap();
    assert_eq!(decoded.meta.name, "web");
    let error = decoded.fact.unwrap_err().to_string();
    assert_eq!(error, "invalid type: integer `7`, expected a sequence");
    assert!(SERVICE.decode(SERVICE.newest(), Encoded::Json(r#"{ "metadata": 7 }"#)).is_err());
}

/// `(group, resource)` with its verbs, of all ClusterRoles in a directory of `deploy/`.
fn rules(directory: &str) -> BTreeSet<(String, String, Vec<String>)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(directory);
    let text = std::fs::read_to_string(file.join("rbac.yaml")).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let mut rules = BTreeSet::new();
    for document in text.split("\n---\n") {
        let document: Map<String, Value> = serde_saphyr::from_str(document).unwrap();
        for rule in document.get("rules").and_then(Value::as_array).into_iter().flatten() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    rules.insert((group.clone(), resource, texts(&rule["verbs"])));
                }
            }
        }
    }
    rules
}

#[test]
fn deploy_grants_what_dns_reads_and_nothing_else() {
    let needed = |need: Need, without: &KindDescriptor| {
        let kinds = ALL.iter().filter(|it| it.watched().is_some_and(|it| it.need == need));
        let verbs = || vec!["list".to_owned(), "watch".to_owned()];
        kinds
            .filter(|it| it.name != without.name)
            .map(|it| (it.group().to_owned(), it.plural.to_owned(), verbs()))
            .collect::<BTreeSet<_>>()
    };
    // Pods are read for `pods verified` and `autopath` only, which this Corefile does not have.
    assert_eq!(rules("standalone"), needed(Need::Required, &POD));
    // ServiceImports are read for `multicluster` only, whose names are for clients in the cluster.
    assert_eq!(rules("outside"), needed(Need::Optional, &SERVICE_IMPORT));
    // kubeadm's own ClusterRole is used there.
    assert!(!Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubeadm/rbac.yaml").exists());
}
