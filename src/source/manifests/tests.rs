mod controllers;
mod decoding;
mod errors;
mod reading;
mod watching;

use std::{
    fmt::Write,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::model::{Addressing, Change, LoadBalancerPoint, NodeAddress, Object};

use super::{Manifests, ManifestsUpdate};

/// A temporary directory for a test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "ndots-manifests-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn of(files: &[(&str, &str)]) -> Self {
        let directory = Self::new();
        files.iter().for_each(|(name, text)| directory.write(name, text));
        directory
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn open(&self) -> Manifests {
        Manifests::open(&self.0, None).unwrap()
    }

    fn read(&self) -> ManifestsUpdate {
        self.open().read()
    }

    /// Errors, with paths relative to the directory.
    fn errors(&self, update: &ManifestsUpdate) -> Vec<String> {
        let root = format!("{}/", self.0.display());
        update.errors.iter().map(|error| error.to_string().replace(&root, "")).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A change as one line: `+ ` and the fact, or `- ` and the key.
fn line(change: &Change) -> String {
    match change {
        Change::Upsert(object) => format!("+ {}", object_line(object)),
        Change::Remove(key) => format!("- {key}"),
        Change::Relist(kind) => format!("relist {}", kind.name()),
        Change::Synced(kind) => format!("synced {}", kind.name()),
        Change::Refused(..) | Change::Forget(_) | Change::Abandon(_) | Change::Caused { .. } => {
            panic!("a directory does not emit {change:?}")
        }
    }
}

fn lines(changes: &[Change]) -> Vec<String> {
    changes.iter().map(line).collect()
}

/// The facts of a file, without those of every cluster.
fn facts(yaml: &str) -> Vec<String> {
    let directory = Directory::of(&[("all.yaml", yaml)]);
    let update = directory.read();
    assert_eq!(directory.errors(&update), [""; 0], "{yaml}");
    facts_of(&update)
}

fn facts_of(update: &ManifestsUpdate) -> Vec<String> {
    let everywhere =
        ["Namespace default", "Namespace kube-", "Service default/kubernetes 10.96.0.1"];
    let lines = lines(&update.changes)
        .into_iter()
        .filter_map(|line| Some(line.strip_prefix("+ ")?.to_owned()));
    lines.filter(|line| !everywhere.iter().any(|known| line.starts_with(known))).collect()
}

/// A fact as one line.
fn object_line(object: &Object) -> String {
    let mut text = object.key().to_string();
    match object {
        Object::Namespace(it) => {
            it.labels.iter().for_each(|(key, value)| write!(text, " {key}={value}").unwrap());
        }
        Object::Service(it) | Object::ServiceImport(it) => {
            match &it.addressing {
                Addressing::ClusterIps(ips) => {
                    ips.iter().for_each(|ip| write!(text, " {ip}").unwrap());
                }
                Addressing::Headless => text.push_str(" headless"),
                Addressing::ExternalName(name) => write!(text, " = {name}").unwrap(),
            }
            for port in it.ports.iter() {
                write!(text, " {}:{}/{}", port.name, port.port, port.protocol.label()).unwrap();
                port.node_port.iter().for_each(|number| write!(text, "@{number}").unwrap());
            }
            if let Some(outside) = &it.outside {
                text.push_str(if outside.local_only { " outside local" } else { " outside" });
                outside.external_ips.iter().for_each(|ip| write!(text, " {ip}").unwrap());
                outside.load_balancer.iter().for_each(|point| text.push_str(&point_text(point)));
                outside.hosts.iter().for_each(|host| write!(text, " {host}").unwrap());
            }
        }
        Object::EndpointSlice(it) => {
            it.service.iter().for_each(|service| write!(text, " of {service}").unwrap());
            it.import.iter().for_each(|import| {
                write!(text, " of {} in {}", import.service, import.cluster).unwrap();
            });
            for endpoint in it.endpoints.iter() {
                write!(text, " {}", endpoint.address).unwrap();
                endpoint.hostname().iter().for_each(|name| write!(text, "={name}").unwrap());
                endpoint.pod().iter().for_each(|name| write!(text, "({name})").unwrap());
            }
            it.ports.iter().for_each(|port| {
                write!(
                    text,
                    " {}:{}/{}",
                    port.name,
                    port.port.unwrap_or_default(),
                    port.protocol.label()
                )
                .unwrap();
            });
        }
        Object::Pod(it) => it.addresses.iter().for_each(|ip| write!(text, " {ip}").unwrap()),
        Object::Node(it) => {
            text.push_str(if it.ready { " ready" } else { " unready" });
            for address in &it.addresses {
                match address {
                    NodeAddress::Internal(ip) => write!(text, " {ip}").unwrap(),
                    NodeAddress::External(ip) => write!(text, " external {ip}").unwrap(),
                }
            }
        }
        Object::Gateway(it) => {
            write!(text, " {} at", it.class).unwrap();
            it.points.iter().for_each(|point| text.push_str(&point_text(point)));
        }
        Object::Route(it) => {
            it.hosts.iter().for_each(|host| write!(text, " {host}").unwrap());
            it.gateways
                .iter()
                .for_each(|(namespace, name)| write!(text, " at {namespace}/{name}").unwrap());
        }
        Object::Ingress(it) => {
            it.hosts.iter().for_each(|host| write!(text, " {host}").unwrap());
            text.push_str(" at");
            it.points.iter().for_each(|point| text.push_str(&point_text(point)));
        }
    }
    text
}

fn point_text(point: &LoadBalancerPoint) -> String {
    match point {
        LoadBalancerPoint::Ip(ip) => format!(" {ip}"),
        LoadBalancerPoint::Hostname(name) => format!(" {name}"),
    }
}
