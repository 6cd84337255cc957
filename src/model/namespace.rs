//! What DNS needs of a Namespace: that it exists, and its labels, for `namespace_labels`.

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace {
    pub name: Box<str>,
    /// Sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
}

/// A label selector as `kubectl` writes it: `app=web,tier!=db,env in (a, b),!legacy`. All
/// requirements must hold.
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

impl Selector {
    /// Reads a label selector. An empty text is an error, because it contains no requirement.
    ///
    /// # Errors
    /// If a requirement cannot be parsed. The error message names it.
    pub fn parse(text: &str) -> Result<Self, String> {
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
        let text = text.trim();
        let values = |text: &str| {
            text.split(',').map(|value| value.trim().into()).collect::<Box<[Box<str>]>>()
        };
        let requirement = |key: &str, test| Self { key: key.trim().into(), test };
        let set = |keyword| {
            let (key, rest) = text.split_once(keyword)?;
            let inner = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some((key, values(inner)))
        };
        let found = if let Some((key, values)) = set(" notin ") {
            requirement(key, Test::NotIn(values))
        } else if let Some((key, values)) = set(" in ") {
            requirement(key, Test::In(values))
        } else if let Some((key, value)) = text.split_once("!=") {
            requirement(key, Test::NotIn(values(value)))
        } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            requirement(key, Test::In(values(value)))
        } else if let Some(key) = text.strip_prefix('!') {
            requirement(key, Test::Absent)
        } else {
            requirement(text, Test::Exists)
        };
        let is_key = |key: &str| {
            !key.is_empty()
                && key.chars().all(|ch| ch.is_ascii_alphanumeric() || "-_./".contains(ch))
        };
        if is_key(&found.key) {
            Ok(found)
        } else {
            Err(format!(
                "`{text}` is not a label requirement such as `app=web`, `app!=web`, `app in (a,b)`, `app` or `!app`"
            ))
        }
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

#[cfg(test)]
mod tests {
    use super::Selector;

    #[test]
    fn selectors_read_as_kubectl_reads_them() {
        let labels = [("app", "web"), ("env", "b")];
        let check = |text: &str, expected| {
            assert_eq!(Selector::parse(text).unwrap().matches(&labels), expected, "{text}");
        };
        check("app=web", true);
        check("app==web,env=b", true);
        check("app=db", false);
        check("app!=db,tier!=db", true);
        check("env in (a, b),app", true);
        check("env notin (a,b)", false);
        check("tier notin (a,b),!tier", true);
        check("!app", false);
        assert!(Selector::parse("app=web,,").is_err());
        assert!(Selector::parse("a b").is_err());
    }
}
