//! An upstream that records the queries that it receives.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use ndots::wire::Query;

use super::upstream;

/// Answers every query with one address, without name compression.
pub(crate) struct Witness {
    pub(crate) address: SocketAddr,
    /// The received questions.
    pub(crate) heard: Arc<Mutex<BTreeSet<String>>>,
}

impl Witness {
    pub(crate) fn start() -> Self {
        let heard = Arc::<Mutex<BTreeSet<String>>>::default();
        let hears = Arc::clone(&heard);
        let address = upstream::datagrams(move |packet| {
            let question = Query::parse(packet).map(|query| query.question);
            let said = match &question {
                Ok(question) => question.to_string(),
                Err(fault) => format!("{fault:?}"),
            };
            hears.lock().unwrap().insert(said);
            let question = question.ok()?;
            let name = question.spelled();
            let header = [&packet[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]].concat();
            let question =
                [name.wire(), &question.qtype.0.to_be_bytes(), &question.class.0.to_be_bytes()]
                    .concat();
            let record = [name.wire(), &[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]].concat();
            Some([header, question, record].concat())
        });
        Self { address, heard }
    }
}
