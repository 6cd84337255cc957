//! The input for a server that is built without reading anything outside the process.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::SystemTime};

use crate::{
    chain::UnixClock,
    metrics::Metrics,
    plugin::{BuildContext, Host, ReadFile, ReloadState, Source},
    zone::Store,
    zonefile::NoDatabase,
};

/// The input for such a server. It has the given files, but no host names and no earlier server.
#[derive(Default)]
pub struct NothingOutside {
    files: HashMap<String, Result<String, String>>,
    metrics: Arc<Metrics>,
    octets: HashMap<String, Result<ReadFile, String>>,
    modified: HashMap<String, SystemTime>,
    hosts: HashMap<Host, Result<Vec<IpAddr>, String>>,
    previous: ReloadState,
}

impl NothingOutside {
    pub fn with_files(files: HashMap<String, Result<String, String>>) -> Self {
        Self { files, ..Self::default() }
    }

    pub fn context<'a>(&'a self, stores: &'a HashMap<Source, Arc<Store>>) -> BuildContext<'a> {
        BuildContext {
            metrics: &self.metrics,
            stores,
            files: &self.files,
            octets: &self.octets,
            modified: &self.modified,
            hosts: &self.hosts,
            own_addresses: &[],
            interfaces: &[],
            host_name: "localhost",
            previous: &self.previous,
            seed: 1,
            cookies: None,
            clock: UnixClock::default(),
            signer: |_, _, _| Err("there are no keys here".to_owned()),
            database: |_| Arc::new(NoDatabase),
        }
    }
}
