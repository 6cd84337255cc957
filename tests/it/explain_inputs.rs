//! What `ndots explain` reads: several files, standard input, encodings, kubeconfigs as kubectl
//! merges them.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::{
    explain::api::{self, Rights},
    support::{free_address, program},
};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}\n";
const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web-1, namespace: shop, labels: {app: web}}\nspec: {nodeName: n1, containers: [{name: main, image: example, ports: [{containerPort: 8080}]}]}\nstatus: {phase: Running, podIP: 10.244.1.10, conditions: [{type: Ready, status: \"True\"}]}\n";

fn ndots() -> Command {
    let mut command = Command::new(program());
    command.args(["explain", "web", "-n", "shop"]).env_remove("KUBERNETES_SERVICE_HOST");
    command
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn is_fine(output: &Output) -> bool {
    output.status.code() == Some(0) && text(output).contains("1 endpoint ready")
}

#[test]
fn several_files_and_standard_input_are_one_cluster() {
    let here = tempfile::tempdir().unwrap();
    let (one, other) = (here.path().join("service.yaml"), here.path().join("pod.yaml"));
    fs::write(&one, SERVICE).unwrap();
    fs::write(&other, POD).unwrap();
    let output = ndots().arg("-f").arg(&one).arg("--manifests").arg(&other).output().unwrap();
    assert!(is_fine(&output), "{}", text(&output));
    let mut child = ndots()
        .args(["--filename", "-", "-f"])
        .arg(&one)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(POD.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(is_fine(&output), "{}", text(&output));
}

#[test]
fn files_of_powershell_are_read() {
    let here = tempfile::tempdir().unwrap();
    let all = format!("{SERVICE}---\r\n{POD}");
    let octets = all.encode_utf16().flat_map(u16::to_le_bytes);
    fs::write(
        here.path().join("all.yaml"),
        [0xff, 0xfe].into_iter().chain(octets).collect::<Vec<u8>>(),
    )
    .unwrap();
    let output = ndots().arg("-f").arg(here.path()).output().unwrap();
    assert!(is_fine(&output), "{}", text(&output));
}

#[test]
fn a_kustomization_is_explained() {
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("all.yaml"), SERVICE).unwrap();
    fs::write(here.path().join("kustomization.yaml"), "resources: [all.yaml]\n").unwrap();
    let text = text(&ndots().arg("-f").arg(here.path()).output().unwrap());
    assert!(text.contains("run `kustomize build"), "{text}");
}

/// A long list as kubectl prints it is parsed in pieces. Errors name the right line, and anchors
/// between items still work.
#[test]
fn long_lists_are_read() {
    let here = tempfile::tempdir().unwrap();
    let item = |text: &str| {
        let lines = text.lines().enumerate();
        lines
            .map(|(index, line)| format!("{}{line}\n", if index == 0 { "- " } else { "  " }))
            .collect::<String>()
    };
    let many =
        (0..200).map(|number| item(&SERVICE.replace("name: web", &format!("name: web{number}"))));
    let many = many.collect::<String>();
    let list = |items: &str| {
        format!("apiVersion: v1\nitems:\n{items}{}{}kind: List\n", item(SERVICE), item(POD))
    };
    let file = here.path().join("all.yaml");
    fs::write(&file, list(&many)).unwrap();
    let output = ndots().arg("-f").arg(&file).output().unwrap();
    assert!(is_fine(&output), "{}", text(&output));
    let wrong = item(&SERVICE.replace("port: 80,", "port: x,").replace("name: web", "name: bad"));
    fs::write(&file, list(&format!("{many}{wrong}"))).unwrap();
    let output = text(&ndots().arg("-f").arg(&file).output().unwrap());
    assert!(output.contains("all.yaml:803:3: Service bad"), "{output}");
    let anchored = list(&many)
        .replacen("app: web", "app: &label web", 1)
        .replace("labels: {app: web}", "labels: {app: *label}");
    fs::write(&file, anchored).unwrap();
    let output = ndots().arg("-f").arg(&file).output().unwrap();
    assert!(is_fine(&output), "{}", text(&output));
}

fn objects() -> Vec<serde_json::Value> {
    [SERVICE, POD].iter().map(|it| serde_saphyr::from_str(it).unwrap()).collect()
}

/// As kubectl does it: the first file that has a value decides, and files that do not exist are
/// ignored.
#[test]
fn kubeconfigs_are_merged() {
    let here = tempfile::tempdir().unwrap();
    let (first, second) = (here.path().join("first"), here.path().join("second"));
    api::start(objects(), Rights::default(), &second);
    fs::write(&first, "apiVersion: v1\nkind: Config\ncurrent-context: test\ncontexts: [{name: other, context: {cluster: none, user: none}}]\n").unwrap();
    let list = |paths: &[&Path]| std::env::join_paths(paths).unwrap();
    let paths = list(&[&here.path().join("absent"), &first, &second]);
    let output = ndots().env("KUBECONFIG", &paths).output().unwrap();
    assert!(text(&output).contains("selector app=web finds 1 Pod, 1 ready"), "{}", text(&output));
    let output = ndots().env("KUBECONFIG", &paths).args(["--context", "nope"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = text(&output);
    assert!(output.contains("there is no context nope; the contexts are: other, test"), "{output}");
}

#[test]
fn an_api_server_that_cannot_be_reached_is_named() {
    let here = tempfile::tempdir().unwrap();
    let file = here.path().join("kubeconfig");
    let server = format!("https://{}", free_address());
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\nclusters: [{{name: a, cluster: {{server: \"{server}\"}}}}]\nusers: [{{name: a, user: {{}}}}]\n"
    );
    fs::write(&file, kubeconfig).unwrap();
    let output = ndots().arg("--kubeconfig").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = text(&output);
    assert!(text.contains(&server) && text.contains("Connection refused"), "{text}");
}
