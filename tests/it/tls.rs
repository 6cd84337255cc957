//! DNS over TLS: server certificates, client certificates, and upstreams over TLS.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::support::{
    Ndots, Tcp,
    encrypted::{Authority, dot},
    question, rcode, rejected,
};

const A: u16 = 1;

fn server(tls: &str) -> Ndots {
    let text = format!(
        "tls://.:0 {{\n bind 127.0.0.1\n {tls}\n hosts none {{\n 192.0.2.1 host.example\n }}\n}}\n"
    );
    Ndots::corefile(&text, &["tls"], &[])
}

/// Whether a query is answered over the connection.
fn answers<S: Read + Write>(client: &mut Tcp<S>) -> bool {
    let packet = question(7, "host.example", A);
    let frame = [&(packet.len() as u16).to_be_bytes(), &packet[..]].concat();
    client.0.write_all(&frame).is_ok()
        && client.0.flush().is_ok()
        && client
            .receive()
            .is_some_and(|reply| rcode(&reply) == 0 && reply.ends_with(&[192, 0, 2, 1]))
}

#[test]
fn client_certificates_are_required_as_configured() {
    let [authority, stranger] = [Authority::new(), Authority::new()];
    let ca = authority.path("ca.pem").display().to_string();
    // Whether clients are accepted: without a certificate, with one of another authority, with one
    // of the configured authority.
    for (mode, expected) in [
        ("", [true, true, true]),
        ("{\n client_auth nocert\n }", [true, true, true]),
        ("{\n client_auth request\n }", [true, true, true]),
        ("{\n client_auth require\n }", [false, true, true]),
        ("CA {\n client_auth verify_if_given\n }", [true, false, true]),
        ("CA {\n client_auth require_and_verify\n }", [false, false, true]),
    ] {
        let server = server(&format!("{} {}", authority.directive(), mode.replace("CA", &ca)));
        let let_in = [None, Some(&stranger), Some(&authority)].map(|signer| {
            answers(&mut dot(server.bound["tls"], authority.client_as(&["dot"], signer)))
        });
        assert_eq!(let_in, expected, "{mode}");
    }
}

#[test]
fn protocols_are_agreed_on() {
    let authority = Authority::new();
    let server = server(&authority.directive());
    for (names, expected) in
        [(&["dot"][..], true), (&[], true), (&["h2", "dot"], true), (&["h2"], false)]
    {
        assert_eq!(
            answers(&mut dot(server.bound["tls"], authority.client(names))),
            expected,
            "{names:?}"
        );
    }
    // Plain DNS is not a TLS handshake.
    assert!(!answers(&mut Tcp(TcpStream::connect(server.bound["tls"]).unwrap())));
}

#[test]
fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let server = server(&authority.directive());
    let shown = || {
        let mut client = dot(server.bound["tls"], authority.client(&["dot"]));
        assert!(answers(&mut client));
        client.0.conn.peer_certificates().unwrap()[0].to_vec()
    };
    let mut before = dot(server.bound["tls"], authority.client(&["dot"]));
    assert!(answers(&mut before));
    let first = shown();
    fs::write(authority.path("key.pem"), "no key").unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(shown(), first);
    authority.renew();
    let renewed = Instant::now();
    while shown() == first {
        assert!(renewed.elapsed() < Duration::from_secs(4), "the new certificate is not shown");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(answers(&mut before), "the connection lives on");
}

#[test]
fn without_a_certificate_nothing_is_encrypted() {
    let server = server("# none");
    assert!(answers(&mut Tcp(TcpStream::connect(server.bound["tls"]).unwrap())));
}

#[test]
fn a_silent_client_is_disconnected() {
    let authority = Authority::new();
    let server = server(&authority.directive());
    let begun = Instant::now();
    let mut silent = TcpStream::connect(server.bound["tls"]).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    assert!(begun.elapsed() < Duration::from_secs(7), "closed after {:?}", begun.elapsed());
}

#[test]
fn mistakes_are_reported_with_their_position() {
    let authority = Authority::new();
    let [cert, key, ca] =
        ["cert.pem", "key.pem", "ca.pem"].map(|name| authority.path(name).display().to_string());
    let other = Authority::new();
    let check = |tls: &str, place: &str, expected: &str| {
        let told = rejected(&format!("tls://.:0 {{\n bind 127.0.0.1\n {tls}\n whoami\n}}\n"));
        assert!(
            told.contains(&format!("Corefile:{place}\n")) && told.contains(expected),
            "{tls}: {told}"
        );
    };
    check("tls", "3:2", "`tls` needs the files of a certificate and its key");
    check(&format!("tls {cert}"), "3:6", "`tls` needs the file of the certificate's key");
    check(
        &format!("tls {cert} {key} {ca} more"),
        &format!("3:{}", 9 + cert.len() + key.len() + ca.len()),
        "takes no more arguments",
    );
    check("tls /nope /nope", "3:6", "plugin/tls: cannot use /nope: No such file");
    check(
        &format!("tls {cert} /nope"),
        &format!("3:{}", 7 + cert.len()),
        "plugin/tls: cannot use /nope: No such file",
    );
    check(&format!("tls {key} {key}"), "3:6", "the file contains no certificate in PEM form");
    check(
        &format!("tls {cert} {cert}"),
        &format!("3:{}", 7 + cert.len()),
        "plugin/tls: cannot use",
    );
    let foreign = other.path("key.pem").display().to_string();
    check(
        &format!("tls {cert} {foreign}"),
        &format!("3:{}", 7 + cert.len()),
        "plugin/tls: cannot use",
    );
    check(
        &format!("tls {cert} {key} {{\n client_auth some\n }}"),
        "4:14",
        "wrong value for client_auth: some",
    );
    check(
        &format!("tls {cert} {key} {{\n clientauth x\n }}"),
        "4:2",
        "unknown property 'clientauth'",
    );
    let told = rejected("quic://. {\n whoami\n}\n");
    assert!(told.contains("Corefile:1:1\n") && told.contains("QUIC is always encrypted"), "{told}");
    let told = rejected(&format!(
        "tls://a:0 {{\n tls {cert} {key}\n whoami\n}}\ntls://b:0 {{\n whoami\n}}\n"
    ));
    assert!(
        told.contains("Corefile:5:1\n") && told.contains("conflicting TLS configuration"),
        "{told}"
    );
}

/// The code and the log of a query that is forwarded over TLS, with these options of `forward`.
fn forwarded(to: &str, options: &str) -> (u8, String) {
    let text =
        format!(".:0 {{\n bind 127.0.0.1\n errors\n forward . {to} {{\n {options}\n }}\n}}\n");
    let server = Ndots::corefile(&text, &["dns"], &[]);
    let reply = server.udp(&question(7, "host.example", A)).unwrap();
    let code = rcode(&reply);
    assert_eq!(code == 0, reply.ends_with(&[192, 0, 2, 1]));
    (code, server.end().1.join("\n"))
}

#[test]
fn upstreams_over_tls_are_used_if_their_certificate_matches() {
    let [authority, stranger] = [Authority::new(), Authority::new()];
    let ca = authority.path("ca.pem").display().to_string();
    let open = server(&authority.directive());
    let closed =
        server(&format!("{} {ca} {{\n client_auth require_and_verify\n }}", authority.directive()));
    let (open, closed) = (open.bound["tls"], closed.bound["tls"]);
    let identity = |of: &Authority| {
        format!("{} {}", of.path("cert.pem").display(), of.path("key.pem").display())
    };
    let check = |to: String, options: String, expected: u8, said: &str| {
        let (code, log) = forwarded(&to, &options);
        assert_eq!(code, expected, "{to} {options}: {log}");
        assert!(log.contains(said), "{to} {options}: {log}");
    };
    // The name in the certificate must be the address, the name after `%`, that of
    // `tls_servername`, or the host name of the upstream.
    check(format!("tls://{open}"), format!("tls {ca}"), 0, "");
    check(format!("tls://127.0.0.1%localhost:{}", open.port()), format!("tls {ca}"), 0, "");
    check(format!("tls://{open}"), format!("tls {ca}\n tls_servername localhost"), 0, "");
    check(format!("tls://localhost:{}", open.port()), format!("tls {ca}"), 0, "");
    check(
        format!("tls://{open}"),
        format!("tls {ca}\n health_check 100ms\n force_tcp\n expire 1s"),
        0,
        "",
    );
    let failed = "tls: failed to verify certificate of";
    check(
        format!("tls://{open}"),
        format!("tls {ca}\n tls_servername other.example"),
        2,
        &format!("{failed} {open}: it is for another name"),
    );
    let theirs = stranger.path("ca.pem").display().to_string();
    check(
        format!("tls://{open}"),
        format!("tls {theirs}"),
        2,
        &format!("{failed} {open}: no trusted authority signed it"),
    );
    check(format!("tls://{open}"), "# no authority: those of the machine".to_owned(), 2, failed);
    check(format!("tls://{closed}"), format!("tls {} {ca}", identity(&authority)), 0, "");
    check(format!("tls://{closed}"), format!("tls {ca}"), 2, "");
    check(format!("tls://{closed}"), format!("tls {} {ca}", identity(&stranger)), 2, "");
}

#[test]
fn mistakes_in_the_files_of_upstreams_are_reported_with_their_position() {
    let authority = Authority::new();
    let [cert, key] =
        ["cert.pem", "key.pem"].map(|name| authority.path(name).display().to_string());
    let check = |tls: &str, column: usize, expected: &str| {
        let told = rejected(&format!(".:0 {{\n forward . tls://127.0.0.1 {{\n {tls}\n }}\n}}\n"));
        assert!(
            told.contains(&format!("Corefile:3:{column}\n")) && told.contains(expected),
            "{tls}: {told}"
        );
    };
    check("tls /nope", 6, "plugin/forward: cannot use /nope: No such file");
    check(&format!("tls {key}"), 6, "the file contains no certificate in PEM form");
    check(&format!("tls {cert} {cert}"), 7 + cert.len(), "plugin/forward: cannot use");
    check(&format!("tls {key} {key}"), 6, "the file contains no certificate in PEM form");
    for (plugin, block) in [
        ("grpc", "grpc . 127.0.0.1 {\n tls /nope\n }"),
        ("etcd", "etcd example {\n endpoint https://127.0.0.1:1\n tls /nope\n }"),
    ] {
        let told = rejected(&format!(".:0 {{\n {block}\n}}\n"));
        let expected = format!("plugin/{plugin}: cannot use /nope: No such file");
        assert!(told.contains(&expected), "{plugin}: {told}");
    }
}
