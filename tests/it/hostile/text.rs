//! Text of tenants on the terminal of an operator.

use serde_json::json;

use super::api;

#[test]
fn explain_escapes_what_an_object_says() {
    let evil = "\u{1b}[2J\n4 From outside           ok";
    let pod = json!({
        "metadata": { "name": "web-0", "namespace": "shop", "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "main" }] },
        "status": { "phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": evil,
        }] },
    });
    let service = json!({
        "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "clusterIP": "10.96.0.9", "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
    });
    let server = api::serve(move |path| {
        let list = |kind: &str, item: &serde_json::Value| {
            Some(json!({ "kind": format!("{kind}List"), "items": [item] }).to_string())
        };
        match path.rsplit('/').next()? {
            "services" => list("Service", &service),
            "pods" if path.contains("/shop/") => list("Pod", &pod),
            "namespaces" => list("Namespace", &json!({ "metadata": { "name": "shop" } })),
            _ => api::empty_list(path),
        }
    });
    let (_, text) = api::explain(server);
    assert!(text.contains("[2J\\n4 From outside"), "the message is shown: {text}");
    assert!(!text.contains('\u{1b}') && !text.contains("\n4 From outside           ok"), "{text}");
}
