//! Lists and watches against a scripted API server: which requests follow which replies, and which
//! Services are known at the end.

mod scripted;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    metrics::Metrics,
    model::{Change, Key, Kind, Object},
    source::kind::SERVICE,
};

use super::*;
use scripted::{Reply, ScriptedServer, event, events, field, json, page, service, status};

/// Octets for the facts of a server.
const MEMORY: usize = 2 << 20;

/// The changes so far.
#[derive(Default)]
struct Known {
    services: BTreeSet<Box<str>>,
    unseen: BTreeSet<Box<str>>,
    lists: usize,
}

impl Known {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Relist(_) => self.unseen = self.services.clone(),
            Change::Upsert(object) => {
                let Key { name, .. } = object.key();
                self.unseen.remove(&name);
                self.services.insert(name);
            }
            Change::Remove(Key { name, .. }) => drop(self.services.remove(&name)),
            Change::Synced(_) => {
                self.services = &self.services - &self.unseen;
                self.lists += 1;
            }
            Change::Refused(..) | Change::Forget(_) | Change::Caused { .. } => {}
        }
    }
}

/// Follows Services until the server has sent all replies and been asked once more, and returns the
/// requests and the known Services.
async fn follow(replies: Vec<Reply>) -> (Vec<String>, Known) {
    let count = replies.len();
    let server = ScriptedServer::start(replies).await;
    let config = ClusterConfig::Endpoint { url: server.url.clone(), identity: None };
    let mut access = Access::open(config, Admission::new(None, 0, None)).await.unwrap();
    access.memory = budget::Budget::of(|| MEMORY);
    let cluster = Cluster {
        access: Arc::new(access),
        labels: None,
        metrics: Arc::new(Metrics::default()),
        notify: Arc::new(|notice| println!("{notice:?}")),
    };
    let (sender, mut changes) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    cluster.follow(Kind::Service, sender, &mut tasks);
    let mut known = Known::default();
    let finished = timeout(Duration::from_secs(40), async {
        while server.requests().len() <= count {
            tokio::select! {
                change = changes.recv() => known.apply(change.unwrap()),
                () = sleep(Duration::from_millis(20)) => {}
            }
        }
    });
    assert!(finished.await.is_ok(), "{:?}", server.requests());
    while let Ok(change) = changes.try_recv() {
        known.apply(change);
    }
    (server.requests(), known)
}

/// A description, the replies, the requests, and the Services at the end.
type Case = (&'static str, Vec<Reply>, &'static str, &'static str);

fn a() -> Vec<u8> {
    event("ADDED", &service("a", "10"))
}

fn b() -> Vec<u8> {
    event("ADDED", &service("b", "11"))
}

fn end() -> Vec<u8> {
    event("BOOKMARK", &scripted::bookmark("20", true))
}

fn whole() -> Reply {
    events(&[a(), b(), end()])
}

fn refused(code: u16) -> Reply {
    Reply::new(code, "application/json", status(code, "not here"))
}

fn lists() -> Vec<Case> {
    let progress = || event("BOOKMARK", &scripted::bookmark("15", false));
    let huge = scripted::annotated("huge", 1 << 20);
    // Each Service takes almost a kilobyte.
    let many: Vec<String> = (0..MEMORY >> 10).map(|it| format!("web-{it}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    vec![
        ("a stream, then a watch from its bookmark", vec![whole()], "events, watch 20", "a b"),
        (
            "a bookmark of progress does not end the list",
            vec![events(&[a(), progress(), b(), end()])],
            "events, watch 20",
            "a b",
        ),
        (
            "a stream that breaks off",
            vec![events(&[a(), b()]).cut(), page(&["a"], "7")],
            "events, page, watch 7",
            "a",
        ),
        (
            "a stream that ends before its bookmark",
            vec![events(&[a(), b()]), page(&["b"], "7")],
            "events, page, watch 7",
            "b",
        ),
        (
            "a large object",
            vec![events(&[event("ADDED", &huge), end()])],
            "events, watch 20",
            "huge",
        ),
        (
            "a list of two pages",
            vec![refused(422), scripted::page_before("next", &["a"]), page(&["b"], "7")],
            "events, page, page, watch 7",
            "a b",
        ),
        (
            "a list without end, which is measured before it is used again",
            vec![
                refused(422),
                scripted::page_before("next", &many),
                scripted::page_before("more", &many),
                page(&["a"], "7"),
                page(&["a"], "7"),
            ],
            "events, page, page, page, page, watch 7",
            "a",
        ),
        (
            "a stream that breaks off is tried again after a list in pages",
            vec![events(&[a()]).cut(), page(&["a"], "7"), refused(410), events(&[b(), end()])],
            "events, page, watch 7, events, watch 20",
            "b",
        ),
    ]
}

/// Servers that lack streams or protobuf.
fn servers_with_less() -> Vec<Case> {
    let compressed =
        [&b"k8s\0"[..], &field(1, &field(2, b"ServiceList")), &field(3, b"gzip")].concat();
    vec![
        (
            "a server whose feature gate for streams is off",
            vec![refused(422), page(&["a"], "7")],
            "events, page, watch 7",
            "a",
        ),
        ("an old server", vec![refused(400), page(&["a"], "7")], "events, page, watch 7", "a"),
        ("JSON only, as a stream", vec![json::events(&["a", "b"], "8")], "events, watch 8", "a b"),
        (
            "JSON only, in pages",
            vec![refused(422), json::page(&["a", "b"], "8")],
            "events, page, watch 8",
            "a b",
        ),
        (
            "HTTP status 406 for protobuf",
            vec![refused(406), refused(406), json::page(&["a"], "8")],
            "events, page, page json, watch json 8",
            "a",
        ),
        (
            "octets that are not protobuf",
            vec![events(&[b"\xff\xff".to_vec()]), json::page(&["a"], "7")],
            "events, page json, watch json 7",
            "a",
        ),
        (
            "a compressed envelope",
            vec![
                refused(422),
                Reply::new(200, scripted::PROTOBUF, compressed),
                json::page(&["a"], "7"),
            ],
            "events, page, page json, watch json 7",
            "a",
        ),
        (
            "a list of another kind",
            vec![refused(422), scripted::page_of("PodList", &["a"], "7"), json::page(&["b"], "7")],
            "events, page, page json, watch json 7",
            "b",
        ),
    ]
}

fn failures() -> Vec<Case> {
    let gone = scripted::gone();
    vec![
        (
            "an expired version in a watch",
            vec![whole(), events(&[gone]), events(&[b(), end()])],
            "events, watch 20, events, watch 20",
            "b",
        ),
        (
            "too many requests",
            vec![refused(429).retry_after(1), page(&["a"], "7")],
            "events, page, watch 7",
            "a",
        ),
        (
            "the permission to list without that to watch",
            vec![refused(403), page(&["a"], "7"), refused(403)],
            "events, page, watch 7, watch 7",
            "a",
        ),
        (
            "a failure with the status 200",
            vec![
                refused(422),
                Reply::new(200, "application/json", status(500, "etcd is away")),
                page(&["a"], "7"),
            ],
            "events, page, page, watch 7",
            "a",
        ),
        (
            "a watch that ends without an event",
            vec![whole(), events(&[]), events(&[event("DELETED", &service("a", "21"))])],
            "events, watch 20, watch 20, watch 21",
            "b",
        ),
    ]
}

/// All cases at the same time, because most of them wait for a back-off.
#[tokio::test]
async fn each_reply_leads_to_the_request_that_helps() {
    let mut running = JoinSet::new();
    for (case, replies, requests, services) in
        [lists(), servers_with_less(), failures()].into_iter().flatten()
    {
        running.spawn(async move {
            let (asked, known) = follow(replies).await;
            let found = known.services.iter().map(|it| &**it).collect::<Vec<_>>().join(" ");
            (case, (asked.join(", "), found), (requests.to_owned(), services.to_owned()))
        });
    }
    let wrong: Vec<_> = running
        .join_all()
        .await
        .into_iter()
        .filter(|(_, found, expected)| found != expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_encodings_of_a_page_give_the_same_facts() {
    let decode = |reply: Reply| {
        let decoded = decode_page(&SERVICE, SERVICE.newest(), reply.content_type, &reply.body);
        let facts = decoded.unwrap().into_iter().map(|decoded| decoded.fact.unwrap().unwrap());
        facts.collect::<Vec<Object>>()
    };
    let protobuf = decode(page(&["a", "b"], "7"));
    assert_eq!(protobuf, decode(json::page(&["a", "b"], "7")));
    assert_eq!(protobuf.len(), 2);
}
