//! Looks at the Corefile and at the files that its plugins read, and tells when they have changed; asks this server the
//! questions that plugins want to see come in.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use sha2::{Digest, Sha512};
use tokio::net::UdpSocket;

use crate::{
    limits,
    wire::{Query, Question},
};

use super::config::{self, Text};

/// What was seen the last time.
#[derive(PartialEq, Eq)]
pub(super) struct Seen {
    /// With everything that it imports; mistakes make a difference, too.
    corefile: String,
    files: HashMap<String, Option<Vec<u8>>>,
}

impl Seen {
    /// `files` are those that the plugins of the Corefile in force read. The Corefile is left out where `text` is.
    pub(super) fn now(text: Option<&Text>, files: &[String]) -> Self {
        let files = files.iter().map(|path| (path.clone(), std::fs::read(path).ok())).collect();
        let corefile = text.and_then(|text| text.again().ok()).map(|text| config::print(&text)).unwrap_or_default();
        Self { corefile, files }
    }

    /// The Corefile's hash as CoreDNS logs it.
    pub(super) fn hash(&self) -> String {
        Sha512::digest(&self.corefile).iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

/// Asks a question at an address of ours once a second, until it is answered or half a minute has passed.
pub(super) async fn probe(to: SocketAddr, question: Question) {
    let to = if to.ip().is_unspecified() { SocketAddr::new([127, 0, 0, 1].into(), to.port()) } else { to };
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let Ok(socket) = UdpSocket::bind(any).await else { return };
    let mut packet = Vec::new();
    Query { id: rand::random(), ..Query::internal(question) }.encode(&mut packet);
    let mut reply = [0; 512];
    for _ in 0..limits::PROBES {
        let asked = async {
            socket.send_to(&packet, to).await?;
            socket.recv(&mut reply).await
        };
        if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(1), asked).await {
            return;
        }
    }
}
