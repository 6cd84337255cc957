//! Errors in manifests: their text, their location, and what stays in use.

use super::{Directory, facts_of};
use crate::source::manifests::Manifests;

/// A valid Pod.
const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {podIP: 10.0.0.1}}";

#[track_caller]
fn check(yaml: &str, expected: &[&str]) {
    let directory = Directory::of(&[("f.yaml", yaml)]);
    let update = directory.read();
    assert_eq!(directory.errors(&update), expected, "{yaml}");
}

#[test]
fn only_the_invalid_object_is_left_out() {
    let wrong = "# a comment\napiVersion: v1\nkind: Service\nmetadata:\n  name: Web\n";
    let directory = Directory::of(&[(
        "f.yaml",
        &format!("{POD}\n---\n{wrong}---\n{}\n", POD.replace("name: a", "name: b")),
    )]);
    let update = directory.read();
    let message = "f.yaml:4:1: Service Web: `Web` is not a DNS label: at most 63 of a-z, 0-9 and `-`, and no `-` at either end";
    assert_eq!(directory.errors(&update), [message]);
    assert_eq!(facts_of(&update), ["Pod default/a 10.0.0.1", "Pod default/b 10.0.0.1"]);
}

#[test]
fn invalid_objects() {
    let in_service = |spec: &str| {
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{{spec}}}")
    };
    let check_service = |spec: &str, expected: &str| {
        check(&in_service(spec), &[&format!("f.yaml:1:1: Service web: {expected}")]);
    };
    check_service("clusterIP: 10.96.1", "`10.96.1` is not an IP address");
    check_service("ports: [{port: 0}]", "a port has no `port` from 1 to 65535");
    check_service("ports: [{name: x}]", "a port has no `port` from 1 to 65535");
    check_service(
        "ports: [{port: 65536}]",
        "invalid value: integer `65536`, expected a port number up to 65535",
    );
    check_service(
        "ports: [{port: '80'}]",
        "invalid type: string \"80\", expected a port number up to 65535",
    );
    check_service(
        "ports: [{port: 80, targetPort: 65536}]",
        "`targetPort` 65536 is neither a number from 1 to 65535 nor a name",
    );
    check_service(
        "ports: [{port: 80, targetPort: '80'}]",
        "`targetPort` \"80\" is neither a number from 1 to 65535 nor a name",
    );
    check_service(
        "ports: [{port: 80, protocol: tcp}]",
        "protocol `tcp` is not one of TCP, UDP, SCTP",
    );
    check_service(
        "type: Clusterip",
        "type `Clusterip` is not one of ClusterIP, NodePort, LoadBalancer, ExternalName",
    );
    check_service("type: ExternalName", "a Service of type ExternalName needs `externalName`");
    check(
        "kind: Namespace\nmetadata: {name: a.b}",
        &[
            "f.yaml:1:1: Namespace a.b: `a.b` is not a DNS label: at most 63 of a-z, 0-9 and `-`, and no `-` at either end",
        ],
    );
    check("kind: Service\nmetadata: {}", &["f.yaml:1:1: the Service has no `metadata.name`"]);
    check("kind: Service", &["f.yaml:1:1: the Service has no `metadata.name`"]);
    check("\n\nmetadata: {name: a}", &["f.yaml:3:1: the object has no `kind`"]);
    check(
        "just words",
        &["f.yaml:1:1: expected an object with `apiVersion`, `kind` and `metadata`"],
    );
    check(
        "- kind: Service",
        &["f.yaml:1:1: expected an object with `apiVersion`, `kind` and `metadata`"],
    );
}

#[test]
fn items_of_a_list_have_their_own_locations() {
    let list = format!(
        "# list\napiVersion: v1\nkind: List\nitems:\n- {POD}\n-\n  apiVersion: v1\n  kind: Service\n- kind: Pod\n  metadata: {{}}\n"
    );
    check(
        &list,
        &[
            "f.yaml:7:3: the Service has no `metadata.name`",
            "f.yaml:9:3: the Pod has no `metadata.name`",
        ],
    );
}

#[test]
fn files_that_do_not_parse() {
    let place = |yaml: &str| {
        let directory = Directory::of(&[("f.yaml", yaml)]);
        let errors = directory.errors(&directory.read());
        assert_eq!(errors.len(), 1, "{yaml}: {errors:?}");
        assert!(!errors[0].contains('\n') && !errors[0].contains(" at line "), "{}", errors[0]);
        errors[0].split(": ").next().unwrap().to_owned()
    };
    assert_eq!(place("kind: Service\n  metadata: x\n"), "f.yaml:2:11");
    assert_eq!(place(&format!("{POD}\n---\n{POD}\n---\nkind: [\n")), "f.yaml:5:7");
    assert_eq!(place("kind: Service\nkind: Service\n"), "f.yaml:2:1");
    // Aliases of aliases are bounded, and so is depth.
    let doubled = |(to, from): (char, char)| {
        format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 10].join(","))
    };
    let bomb = "bcdefgh".chars().zip("abcdefg".chars()).map(doubled).collect::<String>();
    place(&format!("a: &a [x]\n{bomb}"));
    assert_eq!(place(&"[".repeat(100_000)).split(':').nth(1), Some("1"));
    assert_eq!(place("a: 1\nb:\n\tc: 2\n"), "f.yaml:3:2");
}

#[test]
fn the_first_of_two_objects_with_one_name_is_used() {
    let directory = Directory::of(&[
        ("a.yaml", POD),
        ("b.yaml", &format!("---\n{POD}\n").replace("10.0.0.1", "10.0.0.2")),
    ]);
    let update = directory.read();
    assert_eq!(
        directory.errors(&update),
        [
            "b.yaml:2:1: Pod default/a is already defined at a.yaml:1:1; the first definition is used"
        ]
    );
    assert_eq!(facts_of(&update), ["Pod default/a 10.0.0.1"]);
}

#[test]
fn the_same_cluster_ip_twice() {
    let service = |name: &str, ip: &str| {
        format!("{{kind: Service, metadata: {{name: {name}}}, spec: {{clusterIP: {ip}}}}}\n")
    };
    let directory = Directory::of(&[
        ("a.yaml", &service("web", "10.96.1.2")),
        ("b.yaml", &service("api", "10.96.1.2")),
    ]);
    let update = directory.read();
    let message = "b.yaml:1:1: Service default/api: the cluster IP 10.96.1.2 already belongs to Service default/web at a.yaml:1:1";
    assert_eq!(directory.errors(&update), [message]);
    assert_eq!(facts_of(&update), ["Service default/web 10.96.1.2"]);
    let reserved = Directory::of(&[("a.yaml", &service("web", "10.96.0.1"))]);
    let message = "a.yaml:1:1: Service default/web: the cluster IP 10.96.0.1 already belongs to Service default/kubernetes";
    assert_eq!(reserved.errors(&reserved.read()), [message]);
}

#[test]
fn a_broken_file_keeps_its_last_valid_objects() {
    let directory = Directory::of(&[("f.yaml", POD)]);
    let mut manifests = directory.open();
    manifests.read();
    directory.write("f.yaml", "kind: [");
    let broken = manifests.read();
    assert_eq!(broken.changes, []);
    assert_eq!(broken.errors.len(), 1);
    assert_eq!(manifests.read().errors, broken.errors, "each reading has the error");
    directory.write("f.yaml", &POD.replace("10.0.0.1", "10.0.0.2"));
    let repaired = manifests.read();
    assert_eq!(super::lines(&repaired.changes), ["+ Pod default/a 10.0.0.2"]);
    assert_eq!(repaired.errors, []);
}

#[test]
fn a_missing_directory_keeps_its_last_valid_objects() {
    let directory = Directory::of(&[("sub/f.yaml", POD)]);
    let mut manifests = directory.open();
    manifests.read();
    let aside = directory.0.with_extension("aside");
    std::fs::rename(&directory.0, &aside).unwrap();
    let without = manifests.read();
    std::fs::rename(&aside, &directory.0).unwrap();
    assert_eq!(without.changes, []);
    assert_eq!(without.errors.len(), 1, "{:?}", without.errors);
    let back = manifests.read();
    assert_eq!((back.changes, back.errors), (vec![], vec![]));
}

#[test]
fn a_directory_without_manifests_is_an_error_at_the_start() {
    let directory = Directory::of(&[("README.md", "")]);
    let message = |path: &std::path::Path| Manifests::open(path, None).err().unwrap().to_string();
    assert!(message(&directory.0).ends_with(
        "no .yaml, .yml or .json file in it; put there what you give to `kubectl apply -f`"
    ));
    assert!(
        message(&directory.0.join("none"))
            .ends_with("no such directory; it should hold the YAML that `kubectl apply -f` takes")
    );
}
