//! `chaos [VERSION [AUTHOR…]]`: TXT queries of the class CH about the server itself.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    chain::{Cx, Flow, Plugin},
    limits,
    wire::{Class, Owner, Query, Rcode, Rdatas, RecordSet, Response, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, NO_OPTIONS, Need, PluginContext, PluginSettings, Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "chaos",
    about: "Answers version.bind, version.server, hostname.bind, id.server and authors.bind of the class CH.",
    arguments: "[VERSION [AUTHOR…]]",
    options: &NO_OPTIONS,
    roles: &[Role::Answers],
    example: ".:53 {\n    chaos cluster-dns-1 dns-team@example.org\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

#[derive(Clone, Debug)]
struct ChaosSettings {
    version: String,
    authors: Vec<String>,
}

struct Chaos {
    settings: ChaosSettings,
    host_name: String,
}

impl PluginSettings for ChaosSettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::AnyClass]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let host_name = context.build.host_name.to_owned();
        Ok(vec![Arc::new(Chaos { settings: self.clone(), host_name })])
    }
}

impl Plugin for Chaos {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        if question.class != Class::CH || question.qtype != Type::TXT {
            return Flow::Next;
        }
        let ChaosSettings { version, authors } = &self.settings;
        let texts = match &*question.name.to_string() {
            "authors.bind." => authors,
            "version.bind." | "version.server." => std::slice::from_ref(version),
            "hostname.bind." | "id.server." => std::slice::from_ref(&self.host_name),
            _ => return Flow::Next,
        };
        let rdatas: Rdatas = texts.iter().map(|text| character_string(text)).collect();
        let mut response = Response::of(Rcode::NOERROR);
        response.answer.push(RecordSet::new(Owner::Question, Type::TXT, 0, rdatas));
        Flow::Answer(response)
    }
}

/// The text with its length in front, cut to 255 octets (RFC 1035 §3.3).
fn character_string(text: &str) -> Vec<u8> {
    let text = &text.as_bytes()[..text.len().min(limits::CHARACTER_STRING_OCTETS)];
    [&[text.len() as u8], text].concat()
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut chaos = ChaosSettings {
        version: concat!("ndots-", env!("CARGO_PKG_VERSION")).to_owned(),
        authors: vec!["the authors of ndots".to_owned()],
    };
    lines.each(|arguments| {
        if let Some(version) = arguments.optional() {
            chaos.version.clone_from(&version.text);
        }
        let authors: BTreeSet<_> =
            arguments.rest().iter().map(|author| author.text.clone()).collect();
        if !authors.is_empty() {
            chaos.authors = authors.into_iter().collect();
        }
    });
    Some(Box::new(chaos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(character_string("ab"), b"\x02ab");
        let long = character_string(&"a".repeat(300));
        assert_eq!((long.len(), long[0]), (256, 255));
    }
}
