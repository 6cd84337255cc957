//! What is said of mistakes, and where.

use super::{Directory, of_reading};
use crate::source::manifests::Manifests;

/// A Pod that is right.
const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {podIP: 10.0.0.1}}";

#[track_caller]
fn check(yaml: &str, expected: &[&str]) {
    let directory = Directory::of(&[("f.yaml", yaml)]);
    let reading = directory.read();
    assert_eq!(directory.faults(&reading), expected, "{yaml}");
}

#[test]
fn only_the_wrong_object_is_left_out() {
    let wrong = "# a comment\napiVersion: v1\nkind: Service\nmetadata:\n  name: Web\n";
    let directory = Directory::of(&[(
        "f.yaml",
        &format!("{POD}\n---\n{wrong}---\n{}\n", POD.replace("name: a", "name: b")),
    )]);
    let reading = directory.read();
    let sentence = "f.yaml:4:1: Service Web: `Web` is no DNS label: up to 63 of a-z, 0-9 and `-`, no `-` at its ends";
    assert_eq!(directory.faults(&reading), [sentence]);
    assert_eq!(of_reading(&reading), ["Pod default/a 10.0.0.1", "Pod default/b 10.0.0.1"]);
}

#[test]
fn objects_that_are_wrong() {
    let in_service = |spec: &str| {
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{{spec}}}")
    };
    let check_service = |spec: &str, expected: &str| {
        check(&in_service(spec), &[&format!("f.yaml:1:1: Service web: {expected}")])
    };
    check_service("clusterIP: 10.96.1", "`10.96.1` is no IP address");
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
    check_service("ports: [{port: 80, protocol: tcp}]", "protocol `tcp` is none of TCP, UDP, SCTP");
    check_service(
        "type: Clusterip",
        "type `Clusterip` is none of ClusterIP, NodePort, LoadBalancer, ExternalName",
    );
    check_service("type: ExternalName", "type ExternalName needs `externalName`");
    check(
        "kind: Namespace\nmetadata: {name: a.b}",
        &[
            "f.yaml:1:1: Namespace a.b: `a.b` is no DNS label: up to 63 of a-z, 0-9 and `-`, no `-` at its ends",
        ],
    );
    check("kind: Service\nmetadata: {}", &["f.yaml:1:1: a Service without `metadata.name`"]);
    check("kind: Service", &["f.yaml:1:1: a Service without `metadata.name`"]);
    check("\n\nmetadata: {name: a}", &["f.yaml:3:1: it has no `kind`"]);
    check("just words", &["f.yaml:1:1: it is no object with `apiVersion`, `kind` and `metadata`"]);
    check(
        "- kind: Service",
        &["f.yaml:1:1: it is no object with `apiVersion`, `kind` and `metadata`"],
    );
}

#[test]
fn items_of_a_list_have_their_own_places() {
    let list = format!(
        "# list\napiVersion: v1\nkind: List\nitems:\n- {POD}\n-\n  apiVersion: v1\n  kind: Service\n- kind: Pod\n  metadata: {{}}\n"
    );
    check(
        &list,
        &[
            "f.yaml:7:3: a Service without `metadata.name`",
            "f.yaml:9:3: a Pod without `metadata.name`",
        ],
    );
}

#[test]
fn files_that_do_not_parse() {
    let place = |yaml: &str| {
        let directory = Directory::of(&[("f.yaml", yaml)]);
        let faults = directory.faults(&directory.read());
        assert_eq!(faults.len(), 1, "{yaml}: {faults:?}");
        assert!(!faults[0].contains('\n') && !faults[0].contains(" at line "), "{}", faults[0]);
        faults[0].split(": ").next().unwrap().to_owned()
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
fn the_same_object_twice() {
    let directory = Directory::of(&[
        ("a.yaml", POD),
        ("b.yaml", &format!("---\n{POD}\n").replace("10.0.0.1", "10.0.0.2")),
    ]);
    let reading = directory.read();
    assert_eq!(
        directory.faults(&reading),
        ["b.yaml:2:1: Pod default/a stands at a.yaml:1:1 already; that one counts"]
    );
    assert_eq!(of_reading(&reading), ["Pod default/a 10.0.0.1"]);
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
    let reading = directory.read();
    let sentence = "b.yaml:1:1: Service default/api: the cluster IP 10.96.1.2 is that of Service default/web at a.yaml:1:1 already";
    assert_eq!(directory.faults(&reading), [sentence]);
    assert_eq!(of_reading(&reading), ["Service default/web 10.96.1.2"]);
    let reserved = Directory::of(&[("a.yaml", &service("web", "10.96.0.1"))]);
    let sentence = "a.yaml:1:1: Service default/web: the cluster IP 10.96.0.1 is that of Service default/kubernetes already";
    assert_eq!(reserved.faults(&reserved.read()), [sentence]);
}

#[test]
fn a_broken_file_keeps_what_it_said() {
    let directory = Directory::of(&[("f.yaml", POD)]);
    let mut manifests = directory.open();
    manifests.read();
    directory.write("f.yaml", "kind: [");
    let broken = manifests.read();
    assert_eq!(broken.changes, []);
    assert_eq!(broken.faults.len(), 1);
    assert_eq!(manifests.read().faults, broken.faults, "it is told in each reading");
    directory.write("f.yaml", &POD.replace("10.0.0.1", "10.0.0.2"));
    let mended = manifests.read();
    assert_eq!(super::lines(&mended.changes), ["+ Pod default/a 10.0.0.2"]);
    assert_eq!(mended.faults, []);
}

#[test]
fn a_directory_that_goes_away_keeps_what_it_said() {
    let directory = Directory::of(&[("sub/f.yaml", POD)]);
    let mut manifests = directory.open();
    manifests.read();
    let aside = directory.0.with_extension("aside");
    std::fs::rename(&directory.0, &aside).unwrap();
    let without = manifests.read();
    std::fs::rename(&aside, &directory.0).unwrap();
    assert_eq!(without.changes, []);
    assert_eq!(without.faults.len(), 1, "{:?}", without.faults);
    let back = manifests.read();
    assert_eq!((back.changes, back.faults), (vec![], vec![]));
}

#[test]
fn nothing_to_read_is_told_at_the_start() {
    let directory = Directory::of(&[("README.md", "")]);
    let sentence = |path: &std::path::Path| Manifests::open(path, None).err().unwrap().to_string();
    assert!(sentence(&directory.0).ends_with(
        "no .yaml, .yml or .json file in it; put there what you give to `kubectl apply -f`"
    ));
    assert!(
        sentence(&directory.0.join("none"))
            .ends_with("no such directory; it should hold the YAML that `kubectl apply -f` takes")
    );
}
