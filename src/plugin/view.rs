//! `view NAME { expr EXPRESSION }`: decides which queries the server block gets.

use std::sync::Arc;

use crate::{
    chain::{Cx, Filter, Metadata, Plugin},
    wire::Query,
};

use super::{
    BuildError, Directive, DirectiveLines, Need, OptionSpec, OptionTable, PluginContext,
    PluginSettings, Role,
    expression::{self, Environment, Expression, Scope, is_true},
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "view",
    about: "Gives the block only the queries for which all expressions are true; other queries go to the next block of the zone.",
    arguments: "NAME",
    options: &OPTIONS,
    roles: &[Role::Configures],
    example: ".:53 {\n    view inside {\n        expr incidr(client_ip(), '10.0.0.0/8') && type() in ['A', 'AAAA']\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<View> = OptionTable(&[OptionSpec::repeated(
    "expr",
    "EXPRESSION",
    "Takes a query if the expression is true. It is in the language of expr-lang, with the functions type() name() class() proto() size() client_ip() port() id() opcode() do() bufsize() server_ip() server_port() incidr(IP, CIDR) metadata(LABEL), and with len() lower() upper() trim() split() join() replace() hasPrefix() hasSuffix() trimPrefix() trimSuffix() indexOf() first() last() max() min() abs() round() floor() ceil() int() float() string().",
    |view, option| {
        let words: Vec<_> = option.rest().iter().map(|token| &*token.text).collect();
        let text = words.join(" ");
        if let Some(expression) = expression::read(option, &text, Scope::default()) {
            view.texts.push(text);
            view.expressions.push(expression);
        }
    },
)]);

#[derive(Clone, Default)]
struct View {
    name: String,
    texts: Vec<String>,
    expressions: Vec<Arc<Expression>>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.name, self.texts)
    }
}

impl PluginSettings for View {
    fn needs(&self) -> Vec<Need> {
        vec![Need::View(self.name.clone())]
    }

    fn build(&self, _context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(vec![Arc::new(self.clone())])
    }
}

impl Plugin for View {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn metadata(&self, _cx: &Cx, _query: &Query, metadata: &mut Metadata) {
        metadata.set("view/name", &*self.name);
    }
}

impl Filter for View {
    fn accepts(&self, cx: &Cx, query: &Query) -> bool {
        let environment = Environment::new(cx, query);
        self.expressions.iter().all(|expression| is_true(expression, &environment))
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut view = View::default();
    lines.once(|arguments| {
        if let Some(name) = arguments.required("the name of the view") {
            view.name.clone_from(&name.text);
        }
        OPTIONS.read(arguments, &mut view);
    });
    Some(Box::new(view))
}
