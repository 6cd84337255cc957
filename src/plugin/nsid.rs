//! `nsid [DATA…]`: tells clients that ask for it which server answers (RFC 5001).

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    chain::{Back, Cx, Plugin, QueryError, Reply},
    wire::{Query, Response},
};

use super::{
    BuildError, Directive, DirectiveLines, NO_OPTIONS, PluginContext, PluginSettings, Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "nsid",
    about: "Adds an identifier of this server to replies if the client asks for it; the default is the host name.",
    arguments: "[DATA…]",
    options: &NO_OPTIONS,
    roles: &[Role::ChangesReplies],
    example: ".:53 {\n    nsid node-7\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

#[derive(Clone, Debug)]
struct NsidSettings(Option<String>);

struct Nsid(Bytes);

impl PluginSettings for NsidSettings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let data = self.0.as_deref().unwrap_or(context.build.host_name);
        Ok(vec![Arc::new(Nsid(Bytes::copy_from_slice(data.as_bytes())))])
    }
}

impl Plugin for Nsid {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn response(&self, _cx: &mut Cx, query: &Query, reply: Reply) -> Back {
        if !query.edns.is_some_and(|edns| edns.nsid) {
            return Back::Up(reply);
        }
        // The identifier matters most for a failure, so the failure becomes a response. The plugins
        // that log or count failures are below this one and have seen it already.
        let response = reply.unwrap_or_else(QueryError::response);
        Back::Up(Ok(Response { nsid: Some(self.0.clone()), ..response }))
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut data = None;
    lines.once(|arguments| {
        let words: Vec<_> = arguments.rest().iter().map(|token| &*token.text).collect();
        data = (!words.is_empty()).then(|| words.join(" "));
    });
    Some(Box::new(NsidSettings(data)))
}
