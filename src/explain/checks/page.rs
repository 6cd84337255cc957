//! The table of checks as text, and as the page `docs/explain.md`.

use std::fmt::Write;

use super::{ALL, Check, OF_SWITCH, all, find};

/// For each check the output of a case of the tests: its id, what it saw, and what it wanted,
/// separated by tabs. `UPDATE_EXPECT=1 cargo test --test it -- explain_checks` writes them.
const EXAMPLES: &str = include_str!("examples.tsv");

/// What a case of the tests shows: what the check saw, and what it wanted.
fn example(check: &Check) -> Option<(&'static str, &'static str)> {
    let line = EXAMPLES.lines().find_map(|line| line.strip_prefix(check.id)?.strip_prefix('\t'))?;
    Some(line.split_once('\t').unwrap_or((line, "")))
}

/// All checks: `ndots explain --checks`.
pub fn table() -> String {
    let mut text = String::new();
    for group in ALL {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}", group.title);
        for check in group.checks {
            let _ = writeln!(text, "  {:<32}{}", check.id, check.title);
        }
    }
    text
}

/// One check: `ndots explain --checks endpoints.selector`.
///
/// # Errors
/// If there is no such check.
pub fn one(id: &str) -> Result<String, String> {
    let Some(check) = find(id) else {
        let ids: Vec<&str> = all().map(|check| check.id).collect();
        let near = crate::corefile::nearest(id, &ids)
            .map_or(String::new(), |near| format!(", did you mean {near}?"));
        return Err(format!("there is no check {id}{near}; `ndots explain --checks` lists them"));
    };
    let mut text = format!("{}: {}\n", check.id, check.title);
    let (saw, want) = example(check).unwrap_or_default();
    let parts = [
        ("cause", check.cause),
        ("example", saw),
        ("want", want),
        ("cure", check.cure),
        ("if skipped, not checked", check.open.unwrap_or_default()),
    ];
    for (label, words) in parts.into_iter().filter(|(_, words)| !words.is_empty()) {
        let _ = writeln!(text, "\n{label}\n  {words}");
    }
    Ok(text)
}

/// The page `docs/explain.md`.
pub fn page() -> String {
    let mut text = "\
<!-- Generated from src/explain/checks and the cases of the tests. Do not edit. -->

# The checks of `ndots explain`

Every finding of `ndots explain` has an id, which never changes between releases.
`ndots explain --checks` lists the ids, and `ndots explain --checks ID` prints one of the entries
below. The examples are from the cases of the tests.

A finding has one of these marks:

| mark | meaning | effect on the verdict |
|---|---|---|
| ✓ | it holds | |
| ✗ | it is broken | exit code 1 |
| ! | it works now, but not in every case | |
| ? | it could not be checked, and the verdict depends on it | exit code 2 |
| – | not checked, or not applicable | the last line of the report says what was not checked |
| · | a fact | |

The first broken finding decides the verdict. A step without evidence counts as \"not checked\".
"
    .to_owned();
    for group in ALL {
        let _ = writeln!(text, "\n## {}\n\nStep \"{}\".", group.title, group.step.title());
        let (faults, facts): (Vec<&Check>, Vec<&Check>) =
            group.checks.iter().copied().partition(|check| !check.cause.is_empty());
        if !facts.is_empty() {
            text.push_str("\n| id | it reports |\n|---|---|\n");
        }
        for check in facts {
            let _ = writeln!(text, "| `{}` | {} |", check.id, check.title);
        }
        for check in faults {
            fault(&mut text, check);
        }
    }
    text.push_str(
        "\n## The checks of `ndots check --cluster`\n\nBeside these, it has some of the checks above. Each finding says what to do.\n\n| id | it reports |\n|---|---|\n",
    );
    for check in OF_SWITCH {
        let _ = writeln!(text, "| `{}` | {} |", check.id, check.title);
    }
    text
}

fn fault(text: &mut String, check: &Check) {
    let _ = writeln!(text, "\n### `{}`\n\n{}.\n\n- Cause: {}", check.id, check.title, check.cause);
    if let Some((saw, want)) = example(check) {
        let _ = writeln!(text, "- Example: `{saw}`");
        if !want.is_empty() {
            let _ = writeln!(text, "- Wanted: `{want}`");
        }
    }
    let _ = writeln!(text, "- Cure: {}", check.cure);
}
