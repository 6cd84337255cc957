//! The report of `ndots explain` as a page, and as text in a terminal of 80 columns.

use std::{path::Path, process::Command};

use crate::support::{program, requirements::require_programs};

const FIRST_SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/first-services");
/// Elements without an end tag.
const VOID: [&str; 4] = ["meta", "br", "rect", "path"];

fn page(arguments: &[&str]) -> String {
    let output = Command::new(program())
        .args(["explain", "-o", "html", "--manifests", FIRST_SERVICES])
        .args(arguments)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Panics unless the elements are nested correctly. Returns the names of all elements.
fn elements(page: &str) -> Vec<&str> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    for tag in page.split('<').skip(1).map(|text| text.split('>').next().unwrap()) {
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('!') || VOID.contains(&name) {
            all.push(name);
        } else if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag} does not end the innermost element");
        } else {
            open.push(name);
            all.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} do not end");
    all
}

#[test]
fn the_page_is_complete_and_needs_no_other_file() {
    for arguments in [
        &["my-load-balancer"][..],
        &["https://cafe.example.com/tea"],
        &["my-external-ips"],
        &["<script>alert(1)</script>"],
        &["-A"],
    ] {
        let page = page(arguments);
        let all = elements(&page);
        assert!(!all.contains(&"script") && !all.contains(&"link") && !all.contains(&"img"));
        assert!(!page.contains("src=") && !page.contains("href="), "{page}");
    }
}

#[test]
fn the_broken_link_is_red_in_the_picture() {
    let page = page(&["my-load-balancer"]);
    let boxes: Vec<&str> = page.lines().filter(|line| line.starts_with("<rect")).collect();
    assert_eq!(boxes.len(), 5, "{page}");
    let red: Vec<_> = boxes.iter().map(|line| line.contains("stroke=\"#c62828\"")).collect();
    assert_eq!(red, [false, false, false, false, true]);
    assert!(page.contains("<p class=\"verdict broken\">broken: the LoadBalancer is pending"));
}

/// Chromium builds the same elements from the page, and draws it.
#[test]
#[ignore = "it needs Chromium, a large program: `make soak`"]
fn chromium_shows_the_page() {
    require_programs(&["chromium"]);
    let here = tempfile::tempdir().unwrap();
    let file = here.path().join("page.html");
    let text = page(&["my-load-balancer"]);
    std::fs::write(&file, &text).unwrap();
    let chromium = |arguments: &[&str]| {
        let profile = format!("--user-data-dir={}", here.path().join("profile").display());
        let output = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", &profile])
            .args(arguments)
            .arg(format!("file://{}", file.display()))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let drawn = chromium(&["--dump-dom"]);
    for element in ["<rect", "<tr", "<h2", "<text"] {
        assert_eq!(drawn.matches(element).count(), text.matches(element).count(), "{element}");
    }
    let picture = here.path().join("page.png");
    chromium(&["--window-size=1250,900", &format!("--screenshot={}", picture.display())]);
    assert!(std::fs::metadata(picture).unwrap().len() > 20_000);
}

#[test]
fn lines_fit_into_a_terminal_of_80_columns() {
    require_programs(&["script", "stty"]);
    for arguments in ["-A", "my-load-balancer", "my-external-ips"] {
        let line = format!(
            "stty cols 80; {} explain {arguments} --manifests {FIRST_SERVICES}",
            program().display()
        );
        let mut script = Command::new("script");
        script.args(["-q", "-c", &line, "/dev/null"]).env("TERM", "xterm").env("NO_COLOR", "1");
        let output = script.current_dir(Path::new("/")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.lines().count() > 8, "{text}");
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            // A command stays whole, so that it can be copied.
            let is_command = line.contains("  do  ") || line.starts_with("        ");
            assert!(line.chars().count() <= 80 || is_command, "{line}");
        }
    }
}
