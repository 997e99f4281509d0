//! What somebody probably meant.

/// The candidate that takes the fewest edits to become `word`, when they are few enough for a slip of the keyboard.
pub(super) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let most = (word.chars().count() / 3).max(2);
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(edits, _)| *edits <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in characters.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, left) in one.chars().enumerate() {
        let mut diagonal = line;
        let mut previous = line + 1;
        let mut next = vec![previous];
        for (right, above) in other.iter().zip(row.iter().skip(1)) {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = *above;
            previous = substituted.min(*above + 1).min(previous + 1);
            next.push(previous);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_levenshteins() {
        for (one, other, edits) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("a", "a", 0)]
        {
            assert_eq!(distance(one, other), edits, "{one} {other}");
            assert_eq!(distance(other, one), edits, "{other} {one}");
        }
    }

    #[test]
    fn only_a_near_word_is_proposed() {
        let keys = ["http", "https", "data_dir", "allow_unencrypted"];
        assert_eq!(nearest("data-dir", keys.into_iter()), Some("data_dir"));
        assert_eq!(nearest("alow_unencripted", keys.into_iter()), Some("allow_unencrypted"));
        assert_eq!(nearest("colour", keys.into_iter()), None);
    }
}
