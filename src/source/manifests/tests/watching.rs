//! Edits as editors and the kubelet make them are noticed within a second.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{Directory, line};
use crate::{
    limits,
    model::Change,
    source::{Notice, manifests::Manifests},
};

struct Watched {
    changes: mpsc::Receiver<Change>,
    notices: Arc<Mutex<Vec<Notice>>>,
    task: JoinHandle<()>,
}

impl Watched {
    fn of(mut manifests: Manifests) -> Self {
        manifests.read();
        let (sender, changes) = mpsc::channel(limits::CHANGES);
        let notices = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&notices);
        #[expect(clippy::disallowed_methods, reason = "the test awaits it")]
        let task =
            tokio::spawn(manifests.watch(sender, move |notice| log.lock().unwrap().push(notice)));
        Self { changes, notices, task }
    }

    /// Expects the next change before the poll.
    #[track_caller]
    fn expect(&mut self, expected: &str) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let change = timeout(Duration::from_secs(1), self.changes.recv())
                .await
                .unwrap_or_else(|_| panic!("no change within a second, {at}"));
            assert_eq!(line(&change.unwrap()), expected, "{at}");
        }
    }
}

fn pod(ip: &str) -> String {
    format!("{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, status: {{podIP: {ip}}}}}\n")
}

#[tokio::test]
async fn edits_in_place_by_rename_and_in_new_directories() {
    let directory = Directory::of(&[("a.yaml", &pod("10.0.0.1"))]);
    let mut watched = Watched::of(directory.open());
    tokio::time::sleep(Duration::from_millis(100)).await;
    directory.write("a.yaml", &pod("10.0.0.2"));
    watched.expect("+ Pod default/a 10.0.0.2").await;
    directory.write(".a.yaml.swp", &pod("10.0.0.3"));
    fs::rename(directory.0.join(".a.yaml.swp"), directory.0.join("a.yaml")).unwrap();
    watched.expect("+ Pod default/a 10.0.0.3").await;
    fs::remove_file(directory.0.join("a.yaml")).unwrap();
    watched.expect("- Pod default/a").await;
    directory.write("new/er/a.yaml", &pod("10.0.0.4"));
    watched.expect("+ Pod default/a 10.0.0.4").await;
}

/// `..data` is a link to a directory with a date. The kubelet replaces the link.
#[tokio::test]
async fn a_config_map_that_kubelet_swaps() {
    let directory =
        Directory::of(&[("..1/a.yaml", &pod("10.0.0.1")), ("..2/a.yaml", &pod("10.0.0.2"))]);
    let at = |name: &str| directory.0.join(name);
    symlink("..1", at("..data")).unwrap();
    symlink("..data/a.yaml", at("a.yaml")).unwrap();
    for root in [at(""), at("a.yaml")] {
        let mut watched = Watched::of(Manifests::open(&root, None).unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
        for (to, ip) in [("..2", "10.0.0.2"), ("..1", "10.0.0.1")] {
            symlink(to, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
            watched.expect(&format!("+ Pod default/a {ip}")).await;
        }
    }
}

#[tokio::test]
async fn an_error_is_reported_once_and_its_end_too() {
    let directory = Directory::of(&[("a.yaml", &pod("10.0.0.1"))]);
    let mut watched = Watched::of(directory.open());
    tokio::time::sleep(Duration::from_millis(100)).await;
    directory.write("a.yaml", "kind: [");
    tokio::time::sleep(limits::MANIFESTS_POLL + Duration::from_millis(500)).await;
    directory.write("a.yaml", &pod("10.0.0.2"));
    watched.expect("+ Pod default/a 10.0.0.2").await;
    let notices = watched.notices.lock().unwrap().clone();
    let [Notice::Problem(_), Notice::Info(text)] = &*notices else { panic!("{notices:?}") };
    assert!(text.ends_with("a.yaml: the file is valid again"), "{text}");
}

#[tokio::test]
async fn watching_ends_when_the_receiver_is_dropped() {
    let directory = Directory::of(&[("a.yaml", &pod("10.0.0.1"))]);
    let watched = Watched::of(directory.open());
    drop(watched.changes);
    timeout(Duration::from_secs(1), watched.task).await.expect("it ends").unwrap();
}
