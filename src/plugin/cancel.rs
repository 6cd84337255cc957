//! `cancel [DURATION]`.

use std::{sync::Arc, time::Duration};

use crate::{
    chain::{Cx, Flow, Plugin},
    wire::Query,
};

use super::{
    BuildError, Directive, DirectiveLines, NO_OPTIONS, PluginContext, PluginSettings, Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "cancel",
    about: "Limits how long a query waits for one reply of the upstreams. It never waits longer than 4.5s, so CoreDNS's default, 5.001s, has no effect.",
    arguments: "[DURATION]",
    options: &NO_OPTIONS,
    roles: &[Role::Configures],
    example: ".:53 {\n    cancel 3s\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

#[derive(Clone, Copy, Debug)]
struct Cancel(Duration);

impl PluginSettings for Cancel {
    fn build(&self, _context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(vec![Arc::new(*self)])
    }
}

impl Plugin for Cancel {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, cx: &mut Cx, _query: &Query) -> Flow {
        cx.wait_at_most(self.0);
        Flow::Next
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    // CoreDNS's default is a little longer than the 5 s that most clients wait. ndots stops waiting
    // after `limits::EXCHANGE_TIME`, so the default has no effect.
    let mut cancel = Cancel(Duration::from_millis(5001));
    lines.each(|arguments| {
        if !arguments.is_empty() {
            let timeout =
                arguments.duration_between("the timeout", Duration::from_nanos(1), Duration::MAX);
            cancel.0 = timeout.unwrap_or(cancel.0);
        }
    });
    Some(Box::new(cancel))
}
