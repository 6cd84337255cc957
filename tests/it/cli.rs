//! The command line of CoreDNS: flags, output, exit codes, signals, log.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    process::{Command, Output, Stdio},
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use crate::support::{child::OwnedChild, program, question, rcode, turn, udp};
use serde_json::Value;

const WHOAMI: &str = ".:0 {\n bind 127.0.0.1\n whoami\n}\n";

/// A running ndots, with its standard output line by line.
struct Running {
    child: OwnedChild,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let (child, lines) = OwnedChild::with_lines(command.stderr(Stdio::piped()));
        Self { child, lines, seen: Vec::new() }
    }

    /// Runs ndots in a directory with this Corefile.
    fn corefile(text: &str, arguments: &[&str]) -> (Self, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("Corefile"), text).unwrap();
        let running = Self::start(ndots().args(arguments).current_dir(directory.path()));
        (running, directory)
    }

    /// Waits for the first line that contains the text.
    fn line(&mut self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = Duration::from_secs(10).saturating_sub(begun.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("no line has {text:?}: {:#?}", self.seen),
            }
        }
    }

    fn address(&mut self) -> SocketAddr {
        self.line("dns://127.0.0.1:0 is ").rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.seen.extend(self.lines.iter());
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end: {:#?}", self.seen);
    }
}

fn ndots() -> Command {
    Command::new(program())
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = ndots().args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// `ndots check` reports what is wrong with the zone files that a Corefile names, and still says that
/// the Corefile has no mistakes: a server that serves an older version of a zone keeps it.
#[test]
fn check_reads_zone_files() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let soa =
        "@ 60 IN SOA ns hostmaster 1 7200 1800 86400 60\n@ 60 IN NS ns\nns 60 IN A 192.0.2.1\n";
    fs::create_dir(at("auto")).unwrap();
    fs::write(at("good"), soa).unwrap();
    fs::write(at("bad"), format!("{soa}www IN A 192.0.2.300\n")).unwrap();
    fs::write(at("auto/db.example.net"), "www 60 IN A 192.0.2.1\n").unwrap();
    let home = directory.path().display();
    let corefile = format!(
        "example.org {{\n root {home}\n file good\n file bad example.com\n file missing example.edu\n}}\n\
         . {{\n auto {{\n directory {home}/auto\n }}\n}}\n"
    );
    fs::write(at("Corefile"), corefile).unwrap();
    let (code, out, err) = run(&["check", at("Corefile").to_str().unwrap()]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("no mistakes"), "{out}");
    let expected = [
        format!("warning: {home}/bad:4: "),
        format!("warning: the zone file {home}/missing cannot be read: No such file"),
        format!("warning: {home}/auto/db.example.net: "),
    ];
    for line in &expected {
        assert!(err.contains(line), "{line}: {err}");
    }
    assert!(!err.contains(&format!("{home}/good")), "{err}");
}

/// A ConfigMap's Corefile is checked with the files that a Pod would see.
#[test]
fn check_reads_config_maps_and_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let map = |name: &str, data: &str| {
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: kube-system}}\ndata:\n{data}"
        )
    };
    let corefile = "  Corefile: |\n    .:53 {\n        import custom/*.override\n        forward . 192.0.2.1\n    }\n    import /etc/coredns/custom/*.server\n";
    let custom = "  home.server: |\n    example.org {\n        hosts {\n            192.0.2.7 www.example.org\n        }\n    }\n";
    let good =
        map("coredns", corefile) + &map("coredns-custom", &format!("{custom}  a.override: log\n"));
    let wrong = map("coredns", corefile) + &map("coredns-custom", "  a.override: lgo\n");
    fs::write(at("good.yaml"), &good).unwrap();
    fs::write(at("wrong.yaml"), wrong).unwrap();
    fs::write(at("Corefile"), ". {\n    whoami\n}\n").unwrap();

    let (code, out, err) = run(&["check", &at("good.yaml"), &at("Corefile")]);
    assert_eq!((code, &*err), (0, ""), "{out}");
    let whole = "ConfigMap kube-system/coredns: 2 server blocks, no mistakes";
    assert!(out.contains(whole) && out.contains("Corefile: 1 server block, no mistakes"), "{out}");

    let (code, out, err) = run(&["check", &at("wrong.yaml"), &at("Corefile")]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains("/etc/coredns/custom/a.override:1:1") && err.contains("lgo"), "{err}");
    assert!(out.contains("no mistakes"), "the other file is checked, too: {out}");

    let (code, out, _) = run(&["check", "-o", "json", &at("wrong.yaml"), &at("good.yaml")]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["schemaVersion"]), (1, &1.into()));
    let findings = report["files"][0]["findings"].as_array().unwrap();
    let errors: Vec<_> = findings.iter().filter(|it| it["severity"] == "error").collect();
    assert_eq!(errors.len(), 1, "{out}");
    assert_eq!(errors[0]["place"], "/etc/coredns/custom/a.override:1:1");
    assert_eq!(report["files"][1]["serverBlocks"], 2);

    let (code, _, err) = run(&["check", &at("missing"), &at("Corefile")]);
    assert_eq!(code, 2, "{err}");
    fs::write(at("service.yaml"), "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n")
        .unwrap();
    let (code, _, err) = run(&["check", &at("service.yaml")]);
    assert!(code == 2 && err.contains("no ConfigMap in it has the key `Corefile`"), "{code} {err}");

    // The variables of the Pod are not known, so the Corefile may be right in the Pod.
    let variable = map("coredns", "  Corefile: |\n    . {\n        forward . {$UPSTREAM}\n    }\n");
    fs::write(at("variable.yaml"), variable).unwrap();
    let (code, _, err) = run(&["check", &at("variable.yaml")]);
    assert!(code == 2 && err.contains("the variable UPSTREAM of the Pod is not known"), "{err}");
    // Other objects in the file are ignored, and a server block may have the name `kind`.
    let more = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: 7}\n";
    fs::write(at("more.yaml"), format!("{good}{more}")).unwrap();
    fs::write(at("kind"), "kind:53 {\n    whoami\n}\n").unwrap();
    let (code, out, err) = run(&["check", &at("more.yaml"), &at("kind")]);
    assert!(code == 0 && out.contains(whole), "{out}{err}");

    let from_input = |text: &str| {
        let mut command = Command::new(program());
        command.args(["check", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, out) = from_input(&good);
    assert!(code == Some(0) && out.contains(whole), "{out}");
    assert_eq!(from_input("").0, Some(2), "empty input: the command before the pipe has failed");
}

#[test]
fn the_version_names_the_commit_and_the_platform() {
    let (code, stdout, _) = run(&["version"]);
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(code, 0);
    assert_eq!(lines[0], concat!("ndots ", env!("CARGO_PKG_VERSION")));
    assert!(lines[1].starts_with("commit ") && lines[2].starts_with("follows CoreDNS 1."));
    assert!(lines[3].starts_with("platform linux/"), "{stdout}");
}

#[test]
fn shells_accept_the_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, stdout, _) = run(&["completion", shell]);
        assert_eq!(code, 0);
        for word in ["explain", "completion", "against"] {
            assert!(stdout.contains(word), "{shell}: {word} is missing");
        }
    }
    // Completes a command and a flag as bash does.
    let (_, script, _) = run(&["completion", "bash"]);
    let complete = |words: &str, at: usize| {
        let line = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={at}; _ndots ndots \"${{COMP_WORDS[{at}]}}\" \"${{COMP_WORDS[{at}-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["-c", &line]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("ndots expl", 1), "explain");
    assert_eq!(complete("ndots diff --agai", 2), "--against");
    let (code, _, stderr) = run(&["completion", "tcsh"]);
    assert!(code == 2 && stderr.contains("possible values"), "{stderr}");
}

#[test]
fn flags_are_those_of_coredns_with_one_dash_or_two() {
    let check = |arguments: &[&str], code: i32, out: &str, err: &str| {
        let (found, stdout, stderr) = run(arguments);
        assert_eq!(found, code, "{arguments:?}: {stdout}{stderr}");
        assert!(stdout.contains(out) && stderr.contains(err), "{arguments:?}: {stdout}{stderr}");
        assert!(!out.is_empty() || stdout.is_empty(), "{arguments:?}: {stdout}");
    };
    for version in ["-version", "--version"] {
        check(&[version], 0, "CoreDNS-1.15.0\nlinux/", "");
    }
    for plugins in ["-plugins", "--plugins"] {
        check(&[plugins], 0, "dns.kubernetes\n", "");
    }
    check(&["plugins"], 0, "forward       Forwards queries to upstreams.\n", "");
    check(&["plugins", "forward"], 0, "policy random|round_robin|sequential", "");
    check(&["plugins", "forwrad"], 2, "", "no plugin has this name; did you mean `forward`?");
    check(&["plugins", "route53"], 2, "", "ndots does not read zones of Amazon Route 53: forward");
    check(&["plugins", "proxy"], 2, "", "CoreDNS does not have the plugin `proxy` any more: write");
    check(&["plugins", "azure"], 2, "", "ndots does not read zones of Azure DNS: forward");
    check(
        &["-conf", "/nope", "-quiet", "-p", "53", "-dns.port", "53"],
        2,
        "",
        "cannot be used multiple times",
    );
    check(&["-conf=/nope", "-quiet", "-p", "53"], 1, "", "loading Corefile: open /nope");
    check(&["-dns.port", "65536"], 2, "", "65536");
    check(&["-log-format", "xml"], 2, "", "[possible values: text, json]");
    check(&["-log-level", "loud"], 2, "", "[possible values: error, warning, info, debug]");
    check(&["-bogus"], 2, "", "unexpected argument");
    check(&["Corefile"], 1, "", "unrecognized subcommand 'Corefile'");
}

#[test]
fn a_corefile_comes_from_a_flag_the_directory_or_standard_input() {
    let (mut here, _directory) = Running::corefile(WHOAMI, &[]);
    assert_eq!(rcode(&udp(here.address(), &question(1, "a.example", 1)).unwrap()), 0);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("other");
    fs::write(&file, WHOAMI).unwrap();
    let mut given = Running::start(ndots().arg("-conf").arg(&file));
    given.address();

    let mut stdin = ndots();
    let mut stdin = Running::start(stdin.args(["-conf", "stdin"]).stdin(Stdio::piped()));
    stdin.child.stdin.take().unwrap().write_all(WHOAMI.as_bytes()).unwrap();
    stdin.address();

    // Without a Corefile, CoreDNS's default applies.
    let empty = tempfile::tempdir().unwrap();
    let mut none = Running::start(ndots().args(["--dns.port=0"]).current_dir(empty.path()));
    none.line(" is ");
    assert_eq!(none.seen[0], ".:0");
}

#[test]
fn the_banner_is_that_of_coredns() {
    let corefile = "b.example a.example {\n bind 127.0.0.1 127.0.0.2\n whoami\n}\n1st.example:0 {\n whoami\n}\n\
                    10.in-addr.arpa tls://c.example:0 {\n bind 127.0.0.1\n whoami\n}\n";
    let (mut loud, _directory) = Running::corefile(corefile, &["-p", "0"]);
    loud.line("linux/");
    let expected = [
        "10.in-addr.arpa.:0 on 127.0.0.1",
        "a.example.:0 on 127.0.0.1",
        "b.example.:0 on 127.0.0.1",
        "a.example.:0 on 127.0.0.2",
        "b.example.:0 on 127.0.0.2",
        "Warning: Domain \"1st.example.\" does not follow RFC1035 preferred syntax",
        "1st.example.:0",
        "tls://c.example.:0 on 127.0.0.1",
    ];
    assert_eq!(loud.seen[..expected.len()], expected);
    assert!(
        loud.seen[expected.len()].starts_with("ndots-")
            && loud.seen[expected.len()].ends_with("CoreDNS-1.15.0")
    );

    let (mut quiet, _directory) =
        Running::corefile(&WHOAMI.replace("whoami", "whoami\n reload"), &["-quiet"]);
    quiet.line("Running configuration");
    assert_eq!(quiet.seen.len(), 1, "{:?}", quiet.seen);
    assert!(quiet.seen[0].starts_with("[INFO] plugin/reload: Running configuration SHA512 = "));
}

#[test]
fn signals_end_it_as_coredns() {
    let _turn = turn::alone();
    let lame = ".:0 {\n bind 127.0.0.1\n whoami\n health 127.0.0.1:0 {\n lameduck 1s\n }\n}\n";
    // The Corefile, the signals, the exit code, and the last line of the log.
    for (corefile, signals, code, last) in [
        (WHOAMI, &["TERM"][..], 0, "[INFO] SIGTERM: Shutting down servers then terminating"),
        (WHOAMI, &["INT"], 0, "[INFO] SIGINT: Shutting down"),
        (WHOAMI, &["QUIT"], 0, "[INFO] SIGQUIT: Quitting process immediately"),
        (
            WHOAMI,
            &["HUP", "USR2", "TERM"],
            0,
            "[INFO] SIGTERM: Shutting down servers then terminating",
        ),
        (lame, &["TERM"], 0, "[INFO] plugin/health: Going into lameduck mode for 1s"),
        (lame, &["TERM", "INT"], 0, "[INFO] SIGINT: Force quit"),
        (lame, &["TERM", "QUIT"], 0, "[INFO] SIGQUIT: Quitting process immediately"),
    ] {
        let (mut running, _directory) = Running::corefile(corefile, &[]);
        running.address();
        for signal in signals {
            running.child.signal(signal);
            std::thread::sleep(Duration::from_millis(150));
        }
        let begun = Instant::now();
        assert_eq!(running.code(), Some(code), "{signals:?}");
        assert_eq!(running.seen.last().unwrap(), last, "{signals:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{signals:?} took {:?}", begun.elapsed());
    }
}

#[test]
fn a_second_sigint_does_not_wait() {
    // The upstream does not answer, so the query is still pending.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let text =
        format!(".:0 {{\n bind 127.0.0.1\n forward . {}\n}}\n", silent.local_addr().unwrap());
    let (mut running, _directory) = Running::corefile(&text, &[]);
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(&question(1, "a.example", 1), running.address()).unwrap();
    silent.recv(&mut [0; 512]).unwrap();
    running.child.signal("INT");
    running.line("SIGINT: Shutting down");
    running.child.signal("INT");
    assert_eq!(running.code(), Some(2));
    assert_eq!(running.seen.last().unwrap(), "[INFO] SIGINT: Force quit");
}

#[test]
fn a_second_sigterm_does_not_wait_for_a_program() {
    let text = WHOAMI.replace("whoami", "whoami\n on shutdown /bin/sleep 8");
    let (mut running, _directory) = Running::corefile(&text, &[]);
    running.address();
    running.child.signal("TERM");
    running.line("running \"/bin/sleep\"");
    let begun = Instant::now();
    running.child.signal("TERM");
    running.line("SIGTERM: not waiting any longer for the programs of `on shutdown`");
    // The program of `on shutdown` still holds the pipe of the log open, so do not read to its end.
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn the_pid_file_exists_while_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let (mut running, _directory) =
        Running::corefile(WHOAMI, &["-pidfile", file.to_str().unwrap()]);
    running.address();
    let begun = Instant::now();
    while fs::read_to_string(&file).unwrap_or_default() != format!("{}\n", running.child.id()) {
        assert!(begun.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(5));
    }
    running.child.signal("TERM");
    assert_eq!(running.code(), Some(0));
    assert!(!file.exists());
}

#[test]
fn the_log_level_hides_lines_below_it() {
    let text = WHOAMI.replace("whoami", "whoami\n log\n loop");
    for (arguments, rust_log, shown) in [
        (&[][..], "", true),
        (&["-log-level", "info"], "error", true),
        (&["-log-level=error"], "", false),
        (&[], "ndots=error", false),
        (&[], "hyper=debug", true),
        (&[], "=====", true),
    ] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("Corefile"), &text).unwrap();
        let mut command = ndots();
        command.args(arguments).env("RUST_LOG", rust_log).current_dir(directory.path());
        let mut running = Running::start(&mut command);
        udp(running.address(), &question(7, "a.example", 1)).unwrap();
        running.child.signal("TERM");
        assert_eq!(running.code(), Some(0));
        let logged = running.seen.iter().any(|line| line.starts_with("[INFO] 127.0.0.1:"));
        assert_eq!(logged, shown, "{arguments:?} {rust_log:?}: {:#?}", running.seen);
    }
}

#[test]
fn the_log_in_json_is_that_of_coredns() {
    let (mut running, _directory) = Running::corefile(
        ".:0 {\n bind 127.0.0.1\n log\n errors\n reload\n hosts none {\n 192.0.2.1 a.example\n }\n}\n",
        &["-log-format", "json"],
    );
    let address = running.address();
    udp(address, &question(7, "a.example", 1)).unwrap();
    running.line("\"plugin\":\"reload\"");
    running.line("\"plugin\":\"log\"");
    let lines: Vec<Value> =
        running.seen.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let banner = ".:0 on 127.0.0.1\nndots-";
    let is_banner = |line: &Value| line["msg"].as_str().is_some_and(|msg| msg.starts_with(banner));
    assert!(lines.iter().any(is_banner), "{lines:?}");
    let of = |plugin: &str| lines.iter().find(|line| line["plugin"] == plugin).unwrap();
    assert_eq!(of("reload")["level"], "INFO");
    let asked = of("log");
    assert_eq!(
        (&asked["qname"], &asked["qtype"], &asked["rcode"]),
        (&"a.example.".into(), &"A".into(), &"NOERROR".into())
    );
    assert!(
        asked["msg"].as_str().unwrap().ends_with('s')
            && asked["time"].as_str().unwrap().ends_with('Z')
    );
}
