//! Tells the secondary servers of zones that clients update.

use std::{collections::HashMap, sync::Arc};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use crate::{limits, plugin::UpdatedZone};

use super::notify;

/// The tasks of the zones, one for each.
#[derive(Default)]
pub(super) struct Updates {
    /// The key is a text of the zone and its secondary servers.
    running: HashMap<String, AbortHandle>,
    tasks: JoinSet<()>,
}

impl Updates {
    pub(super) fn run_new(zones: Vec<UpdatedZone>) -> Self {
        let mut updates = Self::default();
        updates.run(zones);
        updates
    }

    /// Runs a task for each of these zones and ends the others.
    pub(super) fn run(&mut self, zones: Vec<UpdatedZone>) {
        while self.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.running);
        for updated in zones {
            let identity = format!("{:p} {:?}", Arc::as_ptr(&updated.zone), updated.notice);
            let task = before.remove(&identity);
            let task = task.unwrap_or_else(|| self.tasks.spawn(follow(updated)));
            self.running.insert(identity, task);
        }
        before.into_values().for_each(|task| task.abort());
    }
}

/// Several updates in quick succession cause one message.
async fn follow(updated: UpdatedZone) {
    loop {
        sleep(limits::UPDATE_LOOK).await;
        if updated.zone.take_change() {
            notify::tell(updated.notice.clone()).await;
        }
    }
}
