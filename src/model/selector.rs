//! Label selectors, as Kubernetes reads them.

/// A label selector: `app=web,tier!=db,env in (a, b),!legacy`. All requirements must hold. An empty
/// text has none, and selects everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Box<[Requirement]>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: Box<str>,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Box<[Box<str>]>),
    NotIn(Box<[Box<str>]>),
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
/// Each of them ends a word. `<` and `>` compare labels of nodes elsewhere in Kubernetes, but not in
/// label selectors.
const SYMBOLS: [char; 7] = ['=', '!', '(', ')', ',', '<', '>'];
/// The longest value of a label, and the longest key without its prefix.
const VALUE_OCTETS: usize = 63;
/// The longest prefix of a key: a DNS name.
const PREFIX_OCTETS: usize = 253;

impl Selector {
    /// Reads a label selector.
    ///
    /// # Errors
    /// If a requirement cannot be parsed. The error message names it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim_matches(SPACE).is_empty() {
            return Ok(Self(Box::default()));
        }
        let requirements: Result<_, _> =
            split_outside_parentheses(text).map(Requirement::parse).collect();
        Ok(Self(requirements?))
    }

    /// `labels` are (key, value) pairs in any order.
    pub fn matches<K: AsRef<str>, V: AsRef<str>>(&self, labels: &[(K, V)]) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels
                .iter()
                .find(|(key, _)| key.as_ref() == &*requirement.key)
                .map(|(_, value)| value.as_ref());
            requirement.test.holds(value)
        })
    }
}

impl Requirement {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_matches(SPACE);
        Self::of_tokens(&tokens(text)).ok_or_else(|| {
            format!(
                "`{text}` is not a label requirement such as `app=web`, `app!=web`, `app in (a,b)`, `app` or `!app`"
            )
        })
    }

    fn of_tokens(tokens: &[&str]) -> Option<Self> {
        let (key, test) = match *tokens {
            ["!", key] => (key, Test::Absent),
            [key] => (key, Test::Exists),
            [key, "=" | "==", ref value @ ..] if value.len() < 2 => (key, Test::In(values(value)?)),
            [key, "!=", ref value @ ..] if value.len() < 2 => (key, Test::NotIn(values(value)?)),
            [key, "in", "(", ref list @ .., ")"] => (key, Test::In(values(list)?)),
            [key, "notin", "(", ref list @ .., ")"] => (key, Test::NotIn(values(list)?)),
            _ => return None,
        };
        is_key(key).then(|| Self { key: key.into(), test })
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Exists, value) => value.is_some(),
            (Self::Absent, value) => value.is_none(),
            (Self::In(values), Some(value)) => values.iter().any(|it| &**it == value),
            (Self::In(_), None) => false,
            // An object without the key satisfies `!=` and `notin`, as in Kubernetes.
            (Self::NotIn(values), Some(value)) => values.iter().all(|it| &**it != value),
            (Self::NotIn(_), None) => true,
        }
    }
}

fn split_outside_parentheses(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    text.split(move |ch| {
        depth += match ch {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        ch == ',' && depth == 0
    })
}

/// Words and symbols. White space may be left out beside a symbol.
fn tokens(text: &str) -> Vec<&str> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let length = match rest.find(|ch| SPACE.contains(&ch) || SYMBOLS.contains(&ch)) {
            Some(0) if rest.starts_with("==") || rest.starts_with("!=") => 2,
            Some(0) => 1,
            found => found.unwrap_or(rest.len()),
        };
        let (token, tail) = rest.split_at(length);
        tokens.push(token);
        rest = tail.trim_start_matches(SPACE);
    }
    tokens
}

/// The values between commas. A value may be empty.
fn values(tokens: &[&str]) -> Option<Box<[Box<str>]>> {
    let value = |tokens: &[&str]| match *tokens {
        [] => Some("".into()),
        [value] => is_value(value).then(|| value.into()),
        _ => None,
    };
    tokens.split(|token| *token == ",").map(value).collect()
}

fn is_value(text: &str) -> bool {
    let inside = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    text.len() <= VALUE_OCTETS && is_word(text, inside)
}

/// A name with an optional prefix, which is a DNS name: `app`, `kubernetes.io/metadata.name`.
fn is_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(it, name)| (Some(it), name));
    let inside = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    let is_prefix = |prefix: &str| {
        prefix.len() <= PREFIX_OCTETS && prefix.split('.').all(|label| is_word(label, inside))
    };
    is_value(name) && prefix.is_none_or(is_prefix)
}

/// Whether the text consists of such octets, and begins and ends with a letter or a digit.
fn is_word(text: &str, inside: impl Fn(u8) -> bool) -> bool {
    let octets = text.as_bytes();
    let ends = [octets.first(), octets.last()];
    let has_ends = ends.into_iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric));
    has_ends && octets.iter().all(|octet| inside(*octet))
}

#[cfg(test)]
mod tests {
    use super::Selector;

    #[test]
    fn selectors_read_as_kubernetes_reads_them() {
        let labels = [("app", "web"), ("env", "b"), ("example.com/Team", ""), ("in", "in")];
        let check = |text: &str, expected| {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels), expected, "{text}");
        };
        check("", true);
        check(" ", true);
        check("app=web", true);
        check("app==web,env=b", true);
        check("app=db", false);
        check("app!=db,tier!=db", true);
        check("app != db , tier != db", true);
        check("env in (a, b),app", true);
        check("env in(a,b)", true);
        check("env in\t( b )", true);
        check("env notin (a,b)", false);
        check("env notin(a)", true);
        check("tier notin (a,b),!tier", true);
        check("!app", false);
        check("! app", false);
        // An empty value, in each place where it may stand.
        check("example.com/Team=", true);
        check("example.com/Team==,app", true);
        check("example.com/Team!=", false);
        check("example.com/Team in ()", true);
        check("example.com/Team in (a,,b)", true);
        check("example.com/Team in (,a)", true);
        check("example.com/Team in (a,)", true);
        // Keywords may be keys and values.
        check("in in (in)", true);
        check("in=in", true);
        check("notin", false);
    }

    #[test]
    fn what_kubernetes_rejects_is_an_error() {
        let long = "x".repeat(64);
        let wrong = [
            "app=web,,",
            "app=web,",
            ",app",
            "a b",
            "app=we b",
            "app=web),x",
            "app=web)",
            "(app)",
            "app in (a",
            "app in (a b)",
            "app in a",
            "app in (a))",
            "app in (a)(b)",
            "app in ((a))",
            "app notin",
            "!app=web",
            "!!app",
            "!",
            "=web",
            "app===web",
            "app=!web",
            "app=-web",
            "app=web.",
            "app=wéb",
            "app=a/b",
            "app>1",
            "app<1",
            "-app",
            "/app",
            "a/b/c",
            "Example.com/app",
            "a..b/app",
            &format!("app={long}"),
            &long,
        ];
        for text in wrong {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
