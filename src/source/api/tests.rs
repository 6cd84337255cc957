//! Lists and watches against a scripted API server: which requests follow which replies, and which
//! Services are known at the end.

mod scripted;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    limits,
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
    /// The Services, each with the octets that it takes.
    services: BTreeMap<Box<str>, usize>,
    unseen: BTreeSet<Box<str>>,
    lists: usize,
    is_refused: bool,
}

impl Known {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Relist(_) => self.unseen = self.services.keys().cloned().collect(),
            Change::Upsert(object) => {
                let Key { name, .. } = object.key();
                self.unseen.remove(&name);
                self.services.insert(name, object.octets());
            }
            Change::Remove(Key { name, .. }) => drop(self.services.remove(&name)),
            Change::Synced(_) => {
                self.services.retain(|name, _| !self.unseen.contains(name));
                self.lists += 1;
                self.is_refused = false;
            }
            Change::Abandon(_) if self.lists == 0 => self.services.clear(),
            Change::Refused(..) => self.is_refused = true,
            Change::Abandon(_) | Change::Forget(_) | Change::Caused { .. } => {}
        }
    }

    fn names(&self) -> String {
        self.services.keys().map(|it| &**it).collect::<Vec<_>>().join(" ")
    }
}

/// A follower of Services.
struct Following {
    server: ScriptedServer,
    access: Arc<Access>,
    changes: mpsc::Receiver<Change>,
    known: Known,
    _tasks: JoinSet<()>,
}

impl Following {
    async fn start(replies: Vec<Reply>) -> Self {
        let server = ScriptedServer::start(replies).await;
        let cluster = cluster(&server.url, Admission::new(None, 0, None)).await;
        let (sender, changes) = mpsc::channel(16);
        let mut tasks = JoinSet::new();
        cluster.follow(Kind::Service, sender, &mut tasks);
        let (access, known) = (cluster.access, Known::default());
        Self { server, access, changes, known, _tasks: tasks }
    }

    /// Applies the changes until this is true.
    async fn until(&mut self, done: impl Fn(&ScriptedServer, &Known) -> bool) {
        let finished = timeout(Duration::from_secs(40), async {
            while !done(&self.server, &self.known) {
                tokio::select! {
                    change = self.changes.recv() => self.known.apply(change.unwrap()),
                    () = sleep(Duration::from_millis(20)) => {}
                }
                let octets = self.known.services.values().sum();
                self.access.memory.set_known(Kind::Service, octets);
            }
        });
        assert!(finished.await.is_ok(), "{:?}", self.server.requests());
        while let Ok(change) = self.changes.try_recv() {
            self.known.apply(change);
        }
    }
}

async fn cluster(url: &str, admission: Admission) -> Cluster {
    let config = ClusterConfig::Endpoint { url: url.to_owned(), identity: None };
    let mut access = Access::open(config, admission).await.unwrap();
    access.memory = Budget::of(|| MEMORY);
    Cluster {
        access: Arc::new(access),
        labels: None,
        metrics: Arc::new(Metrics::default()),
        notify: Arc::new(|notice| println!("{notice:?}")),
    }
}

/// Follows Services until the server has sent all replies and been asked once more, and returns the
/// requests and the known Services.
async fn follow(replies: Vec<Reply>) -> (Vec<String>, Known) {
    let count = replies.len();
    let mut following = Following::start(replies).await;
    following.until(|server, _| server.requests().len() > count).await;
    (following.server.requests(), following.known)
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
            "a server that goes on with the events of a watch",
            vec![
                events(&[a(), event("MODIFIED", &service("a", "12"))])
                    .then_slowly(&event("MODIFIED", &service("a", "13")), 30),
                page(&["b"], "7"),
            ],
            "events, page, watch 7",
            "b",
        ),
        (
            "an end without a resource version",
            vec![
                events(&[a(), event("BOOKMARK", &scripted::bookmark("", true))]),
                page(&["b"], "7"),
            ],
            "events, page, watch 7",
            "b",
        ),
        (
            "a large object",
            vec![events(&[event("ADDED", &huge), end()])],
            "events, watch 20",
            "huge",
        ),
    ]
}

/// Lists of several pages.
fn pages() -> Vec<Case> {
    // Each Service takes almost a kilobyte.
    let many: Vec<String> = (0..MEMORY >> 9).map(|it| format!("web-{it}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (many, more) = many.split_at(many.len() / 2);
    vec![
        (
            "a page that begins too late",
            vec![
                refused(422),
                scripted::page_before("next", &["a"]),
                refused(410),
                page(&["b"], "7"),
            ],
            "events, page, page, page, watch 7",
            "b",
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
                scripted::page_before("next", many),
                scripted::page_before("more", more),
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

/// Servers that lost changes, or cannot continue from the resource version.
fn losses() -> Vec<Case> {
    let cut = || events(&[]).cut();
    let ahead = "Timeout: Too large resource version: 20, current: 5";
    let deleted = || event("DELETED", &service("a", "21"));
    vec![
        (
            "a resource version that the server has not reached",
            vec![
                whole(),
                Reply::new(504, "application/json", status(504, ahead)),
                events(&[b(), end()]),
            ],
            "events, watch 20, events, watch 20",
            "b",
        ),
        (
            "a server that was restored from a backup",
            vec![whole(), cut(), page(&["b"], "5"), events(&[b(), end()])],
            "events, watch 20, page, events, watch 20",
            "b",
        ),
        (
            "a server that was restarted",
            vec![whole(), cut(), page(&["a"], "25"), events(&[deleted()])],
            "events, watch 20, page, watch 20, watch 21",
            "b",
        ),
        (
            "an internal error in a watch",
            vec![whole(), events(&[scripted::failed(500)]), events(&[deleted()])],
            "events, watch 20, watch 20, watch 21",
            "b",
        ),
        (
            "an object that cannot be read",
            vec![
                whole(),
                events(&[
                    event("MODIFIED", &scripted::broken_service("a", "21")),
                    event("ADDED", &service("c", "22")),
                ]),
            ],
            "events, watch 20, watch 22",
            "b c",
        ),
    ]
}

/// All cases at the same time, because most of them wait for a back-off.
#[tokio::test]
async fn each_reply_leads_to_the_request_that_helps() {
    let mut running = JoinSet::new();
    for (case, replies, requests, services) in
        [lists(), pages(), servers_with_less(), failures(), losses()].into_iter().flatten()
    {
        running.spawn(async move {
            let (asked, known) = follow(replies).await;
            let found = (asked.join(", "), known.names());
            (case, found, (requests.to_owned(), services.to_owned()))
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

#[tokio::test]
async fn a_watch_that_works_again_ends_a_refusal() {
    let (_, known) = follow(vec![whole(), refused(403), events(&[a()])]).await;
    assert!(!known.is_refused);
    assert_eq!(known.names(), "a b");
}

#[tokio::test]
async fn a_server_without_resource_versions_is_not_watched() {
    let mut following = Following::start(vec![refused(422), page(&["a"], "")]).await;
    following.until(|_, known| known.lists > 0).await;
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(following.server.requests(), ["events", "page"]);
    assert_eq!(following.known.names(), "a");
}

#[tokio::test]
async fn objects_that_were_left_out_are_listed_when_there_is_room() {
    let bookmark = || event("BOOKMARK", &scripted::bookmark("30", false));
    let progress = || events(&[bookmark()]);
    let slow = progress().then_slowly(&bookmark(), 2);
    let mut following =
        Following::start(vec![whole(), progress(), slow, events(&[a(), end()])]).await;
    following.access.memory.leave_out(Kind::Service);
    following.access.memory.set_known(Kind::Pod, MEMORY / 8 * 7);
    following.until(|server, _| server.requests().len() == 3).await;
    assert_eq!(following.server.requests().join(", "), "events, watch 20, watch 30");
    following.access.memory.set_known(Kind::Pod, 0);
    following.until(|server, _| server.requests().len() == 5).await;
    assert_eq!(following.server.requests()[3..].join(", "), "events, watch 20");
    assert_eq!(following.known.names(), "a");
}

/// The first request has to wait for longer than any timeout of a request.
#[tokio::test(start_paused = true)]
async fn the_wait_for_the_rate_is_no_part_of_the_timeout() {
    let admission = Admission::new(Some(Duration::from_secs(90)), 1, None);
    admission.admit().await;
    // Nothing listens there.
    let mut cluster = cluster("http://127.0.0.1:1", admission).await;
    let notices = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&notices);
    cluster.notify = Arc::new(move |notice| seen.lock().unwrap().push(format!("{notice:?}")));
    let (sender, _changes) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    cluster.follow(Kind::Service, sender, &mut tasks);
    sleep(Duration::from_secs(91)).await;
    let notices = notices.lock().unwrap();
    assert!(notices[0].contains("Connection refused"), "{notices:?}");
}

#[tokio::test]
async fn a_text_is_bounded() {
    let large = vec![b' '; limits::API_TEXT_OCTETS + 1];
    let server = ScriptedServer::start(vec![
        Reply::new(200, "text/plain", b"tea".to_vec()),
        refused(404),
        Reply::new(200, "text/plain", large),
    ])
    .await;
    let config = ClusterConfig::Endpoint { url: server.url.clone(), identity: None };
    let reader = ApiReader::open(&config).await.unwrap();
    assert_eq!(reader.get("/log", &[]).await.unwrap(), "tea");
    let missing = reader.get("/log", &[]).await.unwrap_err();
    assert!(matches!(missing, ReadError::Status { code: 404, .. }), "{missing}");
    let endless = reader.get("/log", &[("a", "b")]).await.unwrap_err();
    assert!(matches!(endless, ReadError::TooLarge), "{endless}");
}
