//! An upstream that records the queries that it receives.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
};

use ndots::wire::Question;

/// Answers every query with one address, without name compression.
pub(crate) struct Witness {
    pub(crate) address: SocketAddr,
    /// The received questions.
    pub(crate) heard: Arc<Mutex<BTreeSet<String>>>,
}

impl Witness {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, heard) =
            (socket.local_addr().unwrap(), Arc::<Mutex<BTreeSet<String>>>::default());
        let hears = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                let question =
                    ndots::wire::Query::parse(&packet[..length]).map(|query| query.question);
                hears.lock().unwrap().insert(
                    question
                        .as_ref()
                        .map_or_else(|fault| format!("{fault:?}"), Question::to_string),
                );
                let Ok(question) = question else { continue };
                let name = question.spelled();
                let header = [&packet[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]].concat();
                let question =
                    [name.wire(), &question.qtype.0.to_be_bytes(), &question.class.0.to_be_bytes()]
                        .concat();
                let record = [name.wire(), &[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]].concat();
                let _ = socket.send_to(&[header, question, record].concat(), from);
            }
        });
        Self { address, heard }
    }
}
