//! `cancel [DUR]`: how long a question may wait for upstreams in all.

use std::{sync::Arc, time::Duration};

use crate::{
    chain::{Cx, Flow, Plugin},
    wire::Query,
};

use super::{PluginContext, Reading, Settings};

#[derive(Clone, Copy, Debug)]
struct Cancel(Duration);

impl Settings for Cancel {
    fn build(&self, _site: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        Ok(vec![Arc::new(*self)])
    }
}

impl Plugin for Cancel {
    fn name(&self) -> &'static str {
        "cancel"
    }

    fn query(&self, cx: &mut Cx, _query: &Query) -> Flow {
        cx.wait_at_most(self.0);
        Flow::Next
    }
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    // CoreDNS's odd number is just above what clients wait.
    let mut cancel = Cancel(Duration::from_millis(5001));
    reading.each(|arguments| {
        if !arguments.is_empty() {
            let timeout =
                arguments.duration_between("the timeout", Duration::from_nanos(1), Duration::MAX);
            cancel.0 = timeout.unwrap_or(cancel.0);
        }
        arguments.end();
        arguments.no_body();
    });
    Some(Box::new(cancel))
}
