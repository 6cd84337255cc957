//! Suggestions for mistyped words.

/// Longer words get no suggestion, because the time of a comparison grows with the product of both
/// lengths.
const LONGEST: usize = 64;

/// The candidate that the word most likely stands for, if one is similar enough.
pub fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let near = candidates.iter().filter(|candidate| word.len().max(candidate.len()) <= LONGEST);
    let near =
        near.map(|candidate| (distance(word.as_bytes(), candidate.as_bytes()), *candidate)).min();
    near.filter(|(distance, candidate)| {
        *distance <= 1 + candidate.len() / 4 && *distance < word.len()
    })
    .map(|(_, candidate)| candidate)
}

/// Whether one slip turns one word into the other.
pub fn is_slip(word: &str, other: &str) -> bool {
    word.len().max(other.len()) <= LONGEST && distance(word.as_bytes(), other.as_bytes()) == 1
}

/// The number of insertions, deletions, substitutions and swaps of neighbours between two words.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(!a[i - 1].eq_ignore_ascii_case(&b[j - 1]));
            let best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            row.push(if swapped { best.min(rows[i - 2][j - 2] + 1) } else { best });
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        let check = |word: &str, expected| {
            assert_eq!(
                nearest(word, &["forward", "cache", "kubernetes", "log", "on"]),
                expected,
                "{word}"
            );
        };
        check("forwrad", Some("forward"));
        check("kubernets", Some("kubernetes"));
        check("Cache", Some("cache"));
        check("proxy", None);
        check("xyz", None);
        check("x", None);
        check("", None);
        check(&"log".repeat(100_000), None);
    }
}
