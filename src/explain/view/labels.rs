//! Label selectors (LabelSelector in the API's reference).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::explain::view::truth::Truth;

pub(in crate::explain) type Labels = BTreeMap<String, String>;

/// Whether the selector matches the labels. An empty selector matches everything, also labels that
/// are unknown.
pub(in crate::explain) fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> Truth {
    let wanted = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    let Some(labels) = labels else {
        let is_empty = wanted.count() == 0 && expressions.next().is_none();
        return if is_empty { Truth::Yes } else { Truth::Maybe };
    };
    let mut wanted = wanted;
    Truth::from(
        wanted.all(|(key, value)| labels.get(key) == Some(value))
            && expressions.all(|it| meets(it, labels)),
    )
}

fn meets(requirement: &LabelSelectorRequirement, labels: &Labels) -> bool {
    let LabelSelectorRequirement { key, operator, values } = requirement;
    let value = labels.get(key);
    let listed = || {
        value
            .is_some_and(|value| values.as_deref().unwrap_or_default().iter().any(|it| it == value))
    };
    match operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

/// The selector as kubectl prints it: `app=web,tier in (a,b),!old`; `all` if it is empty.
pub(in crate::explain) fn written(selector: &LabelSelector) -> String {
    let pairs = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|it| {
        let values = it.values.as_deref().unwrap_or_default().join(",");
        match it.operator.as_str() {
            "Exists" => it.key.clone(),
            "DoesNotExist" => format!("!{}", it.key),
            "NotIn" => format!("{} notin ({values})", it.key),
            _ => format!("{} in ({values})", it.key),
        }
    });
    let all: Vec<String> = pairs.chain(expressions).collect();
    if all.is_empty() { "all".to_owned() } else { all.join(",") }
}
