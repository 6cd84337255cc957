//! Situations that public reports describe, rebuilt with neutral names. Each has the arguments of
//! `ndots explain`, the manifests, the verdict and the id of the finding that names the cause.
//!
//! Most are files in `tests/explain/field`. Those in `tests/explain/checks` are for checks that no
//! other case covers. The first lines of a file are comments:
//! 1. the cause;
//! 2. `> ARGUMENTS`;
//! 3. `with FILE …`, the files of `field/base` whose objects are added;
//! 4. `VERDICT ID`. The id is that of the first finding if the verdict is `broken`;
//! 5. optional, each on a line: `live without RESOURCE …`, if an API server has the objects and
//!    forbids these resources; `live in NAMESPACE …`, if it lets the account read these namespaces
//!    only; `silent ID`, if the report must not have this finding; `also ID`, if
//!    it must have this finding, too, because the cause is about it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use serde_json::Value;

use crate::{
    explain::{
        api::{self, Rights},
        in_parallel,
    },
    support::{program, turn},
};

const WEB: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: main, image: example, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.244.1.10, conditions: [{type: Ready, status: \"True\"}]}
---
";

const CLIENT: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: other}
spec: {nodeName: n1, containers: [{name: main, image: example}]}
status: {phase: Running, podIP: 10.244.1.99, conditions: [{type: Ready, status: \"True\"}]}
---
";

fn deployment(replicas: u8, port: u16) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: main, image: example, ports: [{{containerPort: {port}}}]}}]}}
---
"
    )
}

fn ingress(version: &str, annotations: &str, spec: &str) -> String {
    format!(
        "
apiVersion: {version}
kind: Ingress
metadata: {{name: web, namespace: shop, annotations: {{{annotations}}}}}
spec: {spec}
status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.50}}]}}}}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: example}}
spec: {{controller: example.com/ingress}}
---
"
    )
}

/// Runs `explain` and returns its verdict and report.
fn explain(arguments: &str, manifests: &str, rules: Option<&str>) -> (String, Value) {
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("all.yaml"), manifests).unwrap();
    let mut command = Command::new(program());
    command.arg("explain").args(arguments.split_whitespace()).args(["-o", "json", "--manifests"]);
    command.arg(here.path());
    let saved = tempfile::NamedTempFile::new().unwrap();
    if let Some(rules) = rules {
        fs::write(saved.path(), rules).unwrap();
        command.arg("--rules").arg(saved.path());
    }
    verdict_of(&mut command)
}

/// Runs `explain` with an API server that has the objects.
pub(crate) fn explain_live(arguments: &str, manifests: &str, rights: Rights) -> (String, Value) {
    let here = tempfile::tempdir().unwrap();
    let kubeconfig = here.path().join("kubeconfig");
    let documents = manifests
        .split("\n---\n")
        .filter(|text| text.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#')));
    let objects: Vec<Value> = documents.map(|it| serde_saphyr::from_str(it).unwrap()).collect();
    api::start(objects, rights, &kubeconfig);
    let mut command = Command::new(program());
    command.arg("explain").args(arguments.split_whitespace()).args(["-o", "json", "--kubeconfig"]);
    verdict_of(command.arg(kubeconfig).env_remove("KUBERNETES_SERVICE_HOST"))
}

fn verdict_of(command: &mut Command) -> (String, Value) {
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (report["verdict"].as_str().unwrap_or_default().to_owned(), report)
}

fn has_finding(report: &Value, id: &str) -> bool {
    let steps = report["steps"].as_array().into_iter().flatten();
    let mut findings = steps.flat_map(|step| step["findings"].as_array().into_iter().flatten());
    findings.any(|finding| finding["id"] == id)
}

/// Whether the report names the cause. It is the first finding of a broken object.
fn names(report: &Value, verdict: &str, id: &str) -> bool {
    if verdict == "broken" { report["first"] == id } else { has_finding(report, id) }
}

fn check(arguments: &str, manifests: &str, verdict: &str, id: &str) {
    let (got, report) = explain(arguments, manifests, None);
    assert!(
        got == verdict && names(&report, verdict, id),
        "{arguments}: not {verdict}, {id}:\n{report:#}"
    );
}

#[test]
fn a_broken_service_is_not_healthy() {
    let service = |name: &str, spec: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n---\n"
        )
    };
    let only_pod = WEB.split_once("---\n").unwrap().1;
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}\naddressType: IPv6\nendpoints: []\nports: []\n---\n";
    let v6 = service(
        "web",
        "{selector: {app: web}, ipFamilies: [IPv6], clusterIP: \"fd00::10\", ports: [{port: 80, targetPort: 8080}]}",
    );
    check("web -n shop", &format!("{v6}{only_pod}{slice}"), "broken", "endpoints.family");
    let headless = service(
        "web",
        "{selector: {app: web}, clusterIP: None, ports: [{port: 80, targetPort: http}]}",
    );
    let headless = format!("{headless}{only_pod}");
    check("web:80 -n shop", &headless, "broken", "service.headless-port");
    check("web:8080 -n shop", &headless, "healthy", "endpoints.ready");
    let alias = WEB.to_owned()
        + &service("alias", "{type: ExternalName, externalName: dead.shop.svc.cluster.local}")
        + &service("dead", "{selector: {app: none}, ports: [{port: 80}]}");
    check("alias -n shop", &alias, "broken", "endpoints.selector");
    check("alias.shop --pod client -n other", &(alias + CLIENT), "broken", "endpoints.selector");
    let default =
        "{ingressClassName: example, defaultBackend: {service: {name: gone, port: {number: 80}}}}";
    let default = ingress("networking.k8s.io/v1", "", default);
    check("http://shop.example.com/ -n shop", &default, "broken", "outside.ingress-service");
}

#[test]
fn objects_that_were_not_read_are_unknown() {
    for name in ["shop.example.com", "10.96.99.99", "http://a.b.example.com/"] {
        check(&format!("{name} -n shop"), WEB, "unknown", "dns.outside");
    }
    let (_, report) = explain("web -n shop", WEB, None);
    assert_eq!(report["not_checked"].as_array().map(Vec::len), Some(2), "{report:#}");
}

#[test]
fn ordinary_set_ups_are_not_broken() {
    let (service, _) = WEB.split_once("---\n").unwrap();
    let service = format!("{service}---\n");
    check(
        "web -n shop",
        &(service.clone() + &deployment(2, 8080)),
        "healthy",
        "endpoints.template",
    );
    check(
        "web -n shop",
        &(service.clone() + &deployment(2, 3000)),
        "broken",
        "endpoints.target-port",
    );
    check("web -n shop", &(service + &deployment(0, 8080)), "broken", "endpoints.scaled-to-zero");
    let local = "{type: NodePort, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}";
    let local = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {local}\n---\n"
    );
    check("web -n shop", &(local + &deployment(2, 8080)), "healthy", "endpoints.template");
    let rule = "{rules: [{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}";
    let gce =
        WEB.to_owned() + &ingress("networking.k8s.io/v1", "kubernetes.io/ingress.class: gce", rule);
    check("http://shop.example.com/ -n shop", &gce, "healthy", "outside.ingress-route");
    let save = "*nat\n:CILIUM_PRE_nat - [0:0]\n-A PREROUTING -j CILIUM_PRE_nat\nCOMMIT\n";
    let (verdict, report) = explain("web -n shop --node n1", WEB, Some(save));
    assert_eq!(verdict, "healthy", "{report:#}");
    let (verdict, report) = explain("web -n shop --node n1", WEB, Some("*nat\nCOMMIT\n"));
    assert!(verdict == "broken" && report["first"] == "proxy.none", "{report:#}");
}

#[test]
fn hidden_reasons_are_named() {
    let second = WEB.split_once("---\n").unwrap().1.replace("web-1", "job-1");
    let second = second.replace("1.10", "1.11").replace("8080", "9090");
    check("web -n shop", &(WEB.to_owned() + &second), "healthy", "endpoints.some-without-port");
    let going = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\nstatus: {phase: Terminating}\n---\n";
    check("web -n shop", &(WEB.to_owned() + going), "healthy", "service.namespace-terminating");
    check("web.shop.cluster.local -n shop", WEB, "broken", "dns.svc-missing");
    let rule = "{rules: [{host: shop.example.com, http: {paths: [{path: /tea, backend: {serviceName: web, servicePort: 80}}]}}]}";
    let old = WEB.to_owned() + &ingress("extensions/v1beta1", "", rule);
    check("http://shop.example.com/tea -n shop", &old, "healthy", "outside.ingress-version");
    let crd =
        "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: x, namespace: shop}\n---\n";
    check("web -n shop", &(WEB.to_owned() + crd), "healthy", "objects.not-read");
}

/// A case of `tests/explain/field` or `tests/explain/checks`.
struct FieldCase {
    file: PathBuf,
    cause: String,
    verdict: String,
    id: String,
    /// The id of a finding that the report must not have.
    silent: Option<String>,
    /// The id of a finding that the report must have after the first one.
    also: Option<String>,
    /// The verdict and the report.
    got: (String, Value),
}

static CASES: LazyLock<Vec<FieldCase>> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain/field");
    let others = directory.with_file_name("checks");
    let mut files: Vec<PathBuf> = [&directory, &others]
        .into_iter()
        .flat_map(|directory| fs::read_dir(directory).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| file.is_file());
    files.sort();
    in_parallel(&files, |file| FieldCase::run(&directory, file))
});

/// The reports of all cases.
pub(crate) fn reports() -> impl Iterator<Item = &'static Value> {
    CASES.iter().map(|case| &case.got.1)
}

impl FieldCase {
    fn run(directory: &Path, file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let mut head = text.lines().map_while(|line| line.strip_prefix("# "));
        let cause = head.next().unwrap().to_owned();
        let arguments = head.next().unwrap().trim_start_matches("> ");
        let bases = head.next().unwrap().trim_start_matches("with");
        let (verdict, id) = head.next().unwrap().split_once(' ').unwrap();
        let (mut live, mut silent, mut also) = (None, None, None);
        for line in head {
            match line.split_once(' ') {
                Some(("live", words)) => live = Some(Rights::read(words)),
                Some(("silent", id)) => silent = Some(id.to_owned()),
                Some(("also", id)) => also = Some(id.to_owned()),
                _ => panic!("{}: {line}", file.display()),
            }
        }
        let mut manifests = text.clone();
        for base in bases.split_whitespace() {
            let base = directory.join(format!("base/{base}.yaml"));
            manifests = format!("{}\n---\n{manifests}", fs::read_to_string(base).unwrap());
        }
        let got = match live {
            None => explain(arguments, &manifests, None),
            Some(rights) => explain_live(arguments, &manifests, rights),
        };
        let (verdict, id) = (verdict.to_owned(), id.to_owned());
        Self { file: file.to_owned(), cause, verdict, id, silent, also, got }
    }
}

#[test]
fn the_cause_of_each_public_case_is_named() {
    let mut wrong = Vec::new();
    for FieldCase { file, cause, verdict, id, silent, also, got: (got, report) } in CASES.iter() {
        let is_silent = silent.as_ref().is_none_or(|id| !has_finding(report, id));
        let has_also = also.as_ref().is_none_or(|id| has_finding(report, id));
        if got != verdict || !names(report, verdict, id) || !is_silent || !has_also {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let without = silent.iter().map(|id| format!(" and without {id}"));
            let with = also.iter().map(|id| format!(" and with {id}"));
            let but: String = without.chain(with).collect();
            wrong.push(format!("{name}, {cause}: not {verdict} with {id}{but}:\n{report:#}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(CASES.len() >= 400, "{} cases", CASES.len());
}

/// `-A` prints what is broken first, and its exit code is that of the worst object.
#[test]
fn all_objects_are_checked_at_once() {
    let here = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.args(["explain", "-A", "--manifests"]).arg(here.path()).args(arguments);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    fs::write(here.path().join("web.yaml"), WEB).unwrap();
    let (code, text) = run(&[]);
    assert_eq!((code, text.lines().count()), (Some(0), 1), "{text}");
    let dead = WEB.split_once("---\n").unwrap().0.replace("web", "dead").replace("shop", "other");
    fs::write(here.path().join("dead.yaml"), dead).unwrap();
    let (code, text) = run(&[]);
    assert!(code == Some(1) && text.starts_with("broken       Service other/dead  "), "{text}");
    assert_eq!(run(&["-n", "shop"]).0, Some(0));
    let json: Value = serde_json::from_str(&run(&["-o", "json"]).1).unwrap();
    assert_eq!(json["objects"][0]["object"]["name"], "dead");
    assert_eq!(json["schemaVersion"], 1);
    // A file that does not parse may contain any object.
    fs::remove_file(here.path().join("dead.yaml")).unwrap();
    fs::write(here.path().join("torn.yaml"), "kind: Service\nmetadata: {name: a\n").unwrap();
    let (code, text) = run(&["-o", "junit"]);
    assert!(
        code == Some(2) && text.contains("errors=\"1\"") && text.contains("torn.yaml"),
        "{text}"
    );
    assert_eq!(
        (text.matches("<error").count(), text.matches("<skipped").count()),
        (1, 0),
        "{text}"
    );
    fs::remove_file(here.path().join("torn.yaml")).unwrap();
    let _turn = turn::alone();
    // Thousands of objects take no more than a moment, also without optimizations.
    let many = (0..1_000).map(|number| {
        WEB.replace("web", &format!("web{number}"))
            .replace("10.244.1.10", &format!("10.244.{}.{}", number / 250, number % 250 + 1))
    });
    fs::write(here.path().join("many.yaml"), many.collect::<String>()).unwrap();
    let begun = std::time::Instant::now();
    let (_, text) = run(&[]);
    let all = begun.elapsed();
    assert!(text.contains("1001 objects: 0 broken"), "{text}");
    let begun = std::time::Instant::now();
    let mut one = Command::new(program());
    one.args(["explain", "web1", "-n", "shop", "--manifests"]).arg(here.path());
    assert!(one.output().unwrap().status.success());
    let one = begun.elapsed();
    // Most of the time is for reading. A join that scanned a list for each Service took 10 s more.
    assert!(all < one * 4 + std::time::Duration::from_secs(5), "{all:?}, one Service {one:?}");
    println!("1,000 Services and Pods: {all:?}, one of them {one:?}");
}
