//! `health [ADDR] { lameduck DUR }`: a page that says the process is alive.

use std::{sync::Arc, time::Duration};

use crate::chain::Plugin;

use super::{Need, Page, PageReply, PluginContext, Reading, Settings};

#[derive(Debug)]
struct Health {
    address: String,
    lameduck: Duration,
}

impl Settings for Health {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Lameduck(self.lameduck)]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let render = || PageReply::text(200, "OK");
        context.pages.push(Page {
            address: self.address.clone(),
            path: "/health",
            render: Arc::new(render),
            polled: true,
        });
        Ok(Vec::new())
    }
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let mut health = Health { address: ":8080".to_owned(), lameduck: Duration::ZERO };
    reading.each(|arguments| {
        if let Some(address) = arguments.listen(":8080") {
            health.address = address;
        }
        arguments.end();
        arguments.options(|option| {
            option.once();
            match option.name() {
                "lameduck" => {
                    health.lameduck = option.duration("the lameduck time").unwrap_or_default()
                }
                _ => option.unknown(&["lameduck"]),
            }
        });
    });
    Some(Box::new(health))
}
