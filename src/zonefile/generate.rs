//! `$GENERATE START-STOP[/STEP] TEXT…`: a line for each number, in which `$` stands for the number.

use std::{fmt::Write, ops::RangeInclusive};

use crate::{limits, wire::Word};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GenerateError {
    #[error("`{0}` is not a range such as `1-254` or `0-100/10`")]
    Range(String),
    #[error("the range has more than {} numbers", limits::ZONE_GENERATED)]
    TooMany,
    #[error("`{0}` is not a modifier such as `${{1,3,d}}`")]
    Modifier(String),
}

/// The lines that the words after `$GENERATE` stand for.
pub(super) fn lines(words: &[Word<'_>]) -> Result<Vec<String>, GenerateError> {
    let Some((range, template)) = words.split_first() else {
        return Err(GenerateError::Range(String::new()));
    };
    let (numbers, step) = read_range(range.text)?;
    if (numbers.end() - numbers.start()) / step as i64 >= limits::ZONE_GENERATED as i64 {
        return Err(GenerateError::TooMany);
    }
    let template = joined(template);
    numbers.step_by(step).map(|number| expanded(&template, number)).collect()
}

/// The first and the last number, and the step between two of them.
fn read_range(text: &str) -> Result<(RangeInclusive<i64>, usize), GenerateError> {
    let read = || {
        let (range, step) = text.split_once('/').unwrap_or((text, "1"));
        let (start, stop) = range.split_once('-')?;
        let (start, stop): (u32, u32) = (start.parse().ok()?, stop.parse().ok()?);
        let step: usize = step.parse().ok().filter(|step| *step > 0)?;
        (start <= stop).then(|| (i64::from(start)..=i64::from(stop), step))
    };
    read().ok_or_else(|| GenerateError::Range(text.to_owned()))
}

/// The words as one line.
fn joined(words: &[Word<'_>]) -> String {
    let quote = |word: &Word<'_>| {
        if word.quoted { format!("\"{}\"", word.text) } else { word.text.to_owned() }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Replaces each `$` and `${OFFSET,WIDTH,BASE}`; `\$` and `$$` stand for the character itself.
fn expanded(template: &str, number: i64) -> Result<String, GenerateError> {
    let (mut line, mut rest) = (String::with_capacity(template.len() + 8), template);
    while let Some(at) = rest.find(['$', '\\']) {
        line.push_str(&rest[..at]);
        let (mark, tail) = rest[at..].split_at(1);
        if mark == "\\" {
            if !tail.starts_with('$') {
                line.push('\\');
            }
            let next = tail.chars().next().map_or(0, char::len_utf8);
            line.push_str(&tail[..next]);
            rest = &tail[next..];
        } else if let Some(tail) = tail.strip_prefix('$') {
            line.push('$');
            rest = tail;
        } else if let Some((modifier, tail)) =
            tail.strip_prefix('{').and_then(|tail| tail.split_once('}'))
        {
            let wrong = || GenerateError::Modifier(modifier.to_owned());
            line.push_str(&formatted(modifier, number).ok_or_else(wrong)?);
            rest = tail;
        } else {
            // Writing to a String does not fail.
            let _ = write!(line, "{number}");
            rest = tail;
        }
    }
    line.push_str(rest);
    Ok(line)
}

/// The number with an offset, a width and a base: `d`, `o`, `x`, `X`, and `n` or `N` for the digits
/// of a reverse name (BIND 9 Administrator Reference Manual, "$GENERATE").
fn formatted(modifier: &str, number: i64) -> Option<String> {
    let mut parts = modifier.split(',');
    let offset: i64 = parts.next()?.trim().parse().ok()?;
    let width: usize = parts.next().map_or(Some(0), |width| width.trim().parse().ok())?;
    let base = parts.next().map_or("d", str::trim);
    let number = number.checked_add(offset).filter(|it| (0..=i64::from(u32::MAX)).contains(it))?;
    if width > 255 || parts.next().is_some() {
        return None;
    }
    Some(match base {
        "d" => format!("{number:0width$}"),
        "o" => format!("{number:0width$o}"),
        "x" => format!("{number:0width$x}"),
        "X" => format!("{number:0width$X}"),
        "n" => reversed(&format!("{number:x}"), width),
        "N" => reversed(&format!("{number:X}"), width),
        _ => return None,
    })
}

/// The digits from the last to the first with dots between them. The width counts the dots.
fn reversed(digits: &str, width: usize) -> String {
    let mut labels: Vec<String> = digits.chars().rev().map(String::from).collect();
    while labels.len() * 2 - 1 < width {
        labels.push("0".to_owned());
    }
    labels.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_modifier_says() {
        let check = |template: &str, expected: &str| {
            assert_eq!(expanded(template, 10).as_deref(), Ok(expected), "{template}");
        };
        check("host$ A 10.0.0.$", "host10 A 10.0.0.10");
        check("${0,3,d} ${-5} ${2,2,x} ${0,4,X} ${0,0,o}", "010 5 0c 000A 12");
        check("${0,7,n}", "a.0.0.0");
        check(r"a\$ $$ \065 \\", r"a$ $ \065 \\");
        for wrong in ["${x}", "${0,1,q}", "${-11}", "${0,999}", "${0,1,d,4}"] {
            assert!(expanded(wrong, 10).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_have_steps_and_a_bound() {
        let count = |range: &str| {
            let words = [range, "a"].map(|text| Word { text, quoted: false });
            lines(&words).map(|lines| lines.len())
        };
        assert_eq!(count("1-5"), Ok(5));
        assert_eq!(count("0-10/5"), Ok(3));
        assert_eq!(count("0-4000000000"), Err(GenerateError::TooMany));
        for wrong in ["5-1", "1", "1-2/0", "a-b", ""] {
            assert!(matches!(count(wrong), Err(GenerateError::Range(_))), "{wrong}");
        }
    }
}
