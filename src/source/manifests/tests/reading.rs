//! The differences between one reading and the next.

use super::{Directory, lines};

fn pod(name: &str, ip: &str) -> String {
    format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, status: {{podIP: {ip}}}}}\n")
}

#[test]
fn later_readings_emit_only_differences() {
    let directory =
        Directory::of(&[("a.yaml", &pod("a", "10.0.0.1")), ("b.yaml", &pod("b", "10.0.0.2"))]);
    let mut manifests = directory.open();
    assert!(manifests.read().changes.len() > 12);
    let mut check = |expected: &[&str]| assert_eq!(lines(&manifests.read().changes), expected);
    check(&[]);
    directory.write("a.yaml", &format!("# only a comment\n{}", pod("a", "10.0.0.1")));
    check(&[]);
    directory.write("a.yaml", &pod("a", "10.0.0.9"));
    check(&["+ Pod default/a 10.0.0.9"]);
    directory.write("c.yaml", &pod("c", "10.0.0.3"));
    check(&["+ Pod default/c 10.0.0.3"]);
    std::fs::remove_file(directory.0.join("b.yaml")).unwrap();
    check(&["- Pod default/b"]);
    // A Pod that has finished is not a fact any more, although the file still has it.
    directory.write("c.yaml", &pod("c", "10.0.0.3").replace("{podIP", "{phase: Failed, podIP"));
    check(&["- Pod default/c"]);
    // A file with another name is not a change.
    std::fs::rename(directory.0.join("a.yaml"), directory.0.join("z.yaml")).unwrap();
    check(&[]);
}

#[test]
fn a_pod_that_becomes_ready_changes_only_its_slice() {
    let web = "---\n{kind: Service, metadata: {name: web}, spec: {clusterIP: None, selector: {app: web}}}\n";
    let pod = |ready: &str| {
        format!(
            "{web}---\n{{kind: Pod, metadata: {{name: a, labels: {{app: web}}}}, \
             status: {{podIP: 10.0.0.1, conditions: [{{type: Ready, status: '{ready}'}}]}}}}\n"
        )
    };
    let directory = Directory::of(&[("a.yaml", &pod("False"))]);
    let mut manifests = directory.open();
    manifests.read();
    directory.write("a.yaml", &pod("True"));
    assert_eq!(
        lines(&manifests.read().changes),
        ["+ EndpointSlice default/web-ipv4-000 of web 10.0.0.1(a)"]
    );
    directory.write("a.yaml", &pod("False"));
    assert_eq!(lines(&manifests.read().changes), ["- EndpointSlice default/web-ipv4-000"]);
}

#[test]
fn the_example_has_no_errors() {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cafe");
    let update = super::Manifests::open(&example, None).unwrap().read();
    assert_eq!(update.errors, []);
    assert_eq!(update.unused, 1, "the Deployment");
    let slices: Vec<_> = lines(&update.changes)
        .into_iter()
        .filter(|line| line.starts_with("+ EndpointSlice default/my-nginx"))
        .collect();
    assert_eq!(
        slices,
        [
            "+ EndpointSlice default/my-nginx-ipv4-000 of my-nginx 10.244.1.10(my-nginx-5d4f8c7b9-2jkqx) http:80/tcp"
        ]
    );
}
