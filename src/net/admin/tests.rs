use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::*;

fn page(address: &str, path: &'static str, body: &'static str) -> Page {
    Page {
        address: address.to_owned(),
        path,
        render: Arc::new(move || PageReply::text(200, body)),
        polled: false,
        essential: path == "/health",
        tls: None,
    }
}

fn admin() -> Admin {
    let metrics = Arc::new(Metrics::default());
    Admin::new(metrics, |_| Ok(None))
}

async fn bound(pages: Vec<Page>) -> (Admin, SocketAddr) {
    let mut admin = admin();
    assert!(admin.serve(pages).await.is_empty());
    let bound = admin.bound().next().unwrap().1;
    (admin, bound)
}

/// The first line and the body of a response. `None` if there is none.
async fn request(to: SocketAddr, request: &str) -> Option<(String, String)> {
    let reply = async {
        let mut stream = TcpStream::connect(to).await?;
        stream
            .write_all(
                format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
            )
            .await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        io::Result::Ok(reply)
    };
    let reply = timeout(limits::PAGE_TIME / 2, reply).await.ok()?.ok()?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    Some((head.lines().next()?.to_owned(), body.to_owned()))
}

#[tokio::test]
async fn pages_are_served_by_path_and_method() {
    let (_admin, to) =
        bound(vec![page("127.0.0.1:0", "/health", "OK"), page("127.0.0.1:0", "/ready", "not yet")])
            .await;
    let check = async |asked: &str, status: &str, body: &str| {
        assert_eq!(
            request(to, asked).await,
            Some((format!("HTTP/1.1 {status}"), body.to_owned())),
            "{asked}"
        );
    };
    check("GET /health", "200 OK", "OK").await;
    check("GET /health?verbose", "200 OK", "OK").await;
    check("GET /ready", "200 OK", "not yet").await;
    check("HEAD /health", "200 OK", "").await;
    check("GET /", "404 Not Found", "404 page not found\n").await;
    check("GET /health/", "404 Not Found", "404 page not found\n").await;
    check("POST /health", "405 Method Not Allowed", "method not allowed\n").await;
}

#[tokio::test]
async fn an_address_that_stays_keeps_its_socket() {
    let (mut admin, to) = bound(vec![page("127.0.0.1:0", "/health", "OK")]).await;
    let mut kept = TcpStream::connect(to).await.unwrap();
    let pages = vec![page("127.0.0.1:0", "/health", "new"), page("127.0.0.2:0", "/ready", "OK")];
    assert!(admin.serve(pages).await.is_empty());
    assert_eq!(admin.bound().next(), Some(("127.0.0.1:0", to)));
    assert_eq!(request(to, "GET /health").await.unwrap().1, "new");
    kept.write_all(b"GET /health HTTP/1.0\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    kept.read_to_string(&mut reply).await.unwrap();
    assert!(reply.ends_with("new"), "{reply}");
    assert!(admin.serve(vec![page("127.0.0.2:0", "/ready", "OK")]).await.is_empty());
    assert!(TcpStream::connect(to).await.is_err());
}

#[tokio::test]
async fn a_reload_may_replace_the_wildcard_address() {
    let (mut admin, to) = bound(vec![page(":0", "/health", "OK")]).await;
    for host in ["127.0.0.1", "", "127.0.0.1"] {
        let address = format!("{host}:{}", to.port());
        assert!(admin.serve(vec![page(&address, "/health", "moved")]).await.is_empty());
        assert_eq!(
            request(([127, 0, 0, 1], to.port()).into(), "GET /health").await.unwrap().1,
            "moved"
        );
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_opened_is_named_and_the_others_are_served() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let _stranger = TcpListener::bind(taken).await.unwrap();
    let mut admin = admin();
    let pages = vec![
        page(&taken.to_string(), "/health", "OK"),
        page(":x", "/health", "OK"),
        page("127.0.0.1:0", "/ready", "OK"),
    ];
    let unserved = admin.serve(pages).await;
    let errors: Vec<_> = unserved.iter().map(|it| format!("{:#}", it.error)).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with(&format!("cannot serve pages at {taken}")), "{errors:?}");
    assert!(errors[1].contains("\"x\" is not a port number"), "{errors:?}");
    let (_, to) = admin.bound().next().unwrap();
    assert_eq!(request(to, "GET /ready").await.unwrap().1, "OK");
}

#[tokio::test]
async fn a_taken_address_is_tried_again() {
    for (path, essential) in [("/ready", false), ("/health", true)] {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let stranger = TcpListener::bind(taken).await.unwrap();
        let mut admin = admin();
        let unserved = admin.serve(vec![page(&taken.to_string(), path, "OK")]).await;
        assert_eq!(unserved.iter().map(|it| it.essential).collect::<Vec<_>>(), [essential]);
        admin.retry().await;
        assert_eq!(admin.bound().count(), 0);
        drop(stranger);
        admin.retry().await;
        assert_eq!(request(taken, &format!("GET {path}")).await.unwrap().1, "OK");
    }
}

/// Otherwise a client that holds all connections makes kubelet restart the server.
#[tokio::test]
async fn clients_that_hold_connections_do_not_block_a_probe() {
    let (_admin, to) = bound(vec![page("127.0.0.1:0", "/health", "OK")]).await;
    let mut silent = Vec::new();
    for _ in 0..2 * limits::PAGE_CONNECTIONS {
        silent.push(TcpStream::connect(to).await.unwrap());
    }
    assert_eq!(request(to, "GET /health").await.unwrap().1, "OK");
    assert_eq!(
        timeout(limits::PAGE_TIME / 2, silent[0].read(&mut [0])).await.unwrap().unwrap(),
        0,
        "the oldest connection is closed"
    );
}

#[tokio::test]
async fn the_process_fetches_its_own_page() {
    let (admin, _) =
        bound(vec![Page { polled: true, ..page("127.0.0.1:0", "/health", "OK") }]).await;
    let counts = |admin: &Admin| {
        let duration = poll::DURATION.with(&admin.metrics, []);
        (duration.get_sample_count(), poll::FAILURES.with(&admin.metrics, []).get())
    };
    while counts(&admin).0 == 0 {
        tokio::time::sleep(limits::POLL_INTERVAL / 10).await;
    }
    assert_eq!(counts(&admin).1, 0);
}
