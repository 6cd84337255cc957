//! `on EVENT COMMAND`: a program that runs when the server starts or stops.

use super::{Command, Directive, DirectiveLines, Event, NO_OPTIONS, Need, PluginSettings, Role};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "on",
    about: "Runs a program when the server starts, and after each reload, or when it stops. The programs of an event run one after another. ndots waits up to 30s for the end of each, unless its last word is `&`. At the start and after a reload, the server already answers queries meanwhile. The log contains the name of a program and not its arguments. The image of ndots has no shell and no other program.",
    arguments: "startup|shutdown COMMAND…",
    options: &NO_OPTIONS,
    roles: &[Role::Configures],
    example: ".:53 {\n    on startup /usr/bin/logger \"DNS has started\" &\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

#[derive(Debug)]
struct OnSettings(Vec<Command>);

impl PluginSettings for OnSettings {
    fn needs(&self) -> Vec<Need> {
        self.0.iter().cloned().map(Need::Command).collect()
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut commands = Vec::new();
    lines.each(|arguments| {
        let Some(event) = arguments.required("startup or shutdown") else {
            return arguments.skip();
        };
        let rest: Vec<_> = arguments.rest().iter().map(|token| &*token.text).collect();
        let span = arguments.span();
        let mut words = match split(&rest.join(" ")) {
            Some(words) if !words.is_empty() => words,
            Some(_) => {
                arguments.error(span, "no command contained in the line");
                return;
            }
            None => {
                arguments.error(span, "the command has a quote that does not end");
                return;
            }
        };
        let background = words.len() > 1 && words.last().is_some_and(|last| last == "&");
        words.truncate(words.len() - usize::from(background));
        match &*event.text.to_lowercase() {
            "startup" => commands.push(Command { event: Event::Startup, words, background }),
            "shutdown" => commands.push(Command { event: Event::Shutdown, words, background }),
            "certrenew" => {
                arguments
                    .warning(event.span, "the command never runs: ndots renews no certificates");
            }
            other => {
                let message = format!("Wrong event name or event not supported: '{other}'");
                arguments.error(event.span, &message).help("such as `startup` or `shutdown`");
            }
        }
    });
    Some(Box::new(OnSettings(commands)))
}

/// Splits a command into words as a shell does: quotes hold words together, and the character after
/// a backslash has no special meaning. `None` if a quote does not end.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(ch) = chars.next() {
        match (ch, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(chars.next()),
            (ch, Some(open)) if ch == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(ch);
                word.get_or_insert_default();
            }
            (ch, None) if ch.is_whitespace() => words.extend(word.take()),
            (ch, _) => word.get_or_insert_default().push(ch),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_in_a_shell() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let expected = expected.map(|it| it.iter().map(|word| (*word).to_owned()).collect());
            assert_eq!(split(text), expected, "{text}");
        };
        check("", Some(&[]));
        check("/bin/echo a  b &", Some(&["/bin/echo", "a", "b", "&"]));
        check("echo 'a b' \"c d\" e\\ f ''", Some(&["echo", "a b", "c d", "e f", ""]));
        check("echo 'a\\b'", Some(&["echo", "a\\b"]));
        check("echo 'a", None);
    }
}
