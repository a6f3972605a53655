//! Strings: words, case, comparison and layout.

use std::collections::HashMap;

/// Counts the words of a text. Words are separated by white space.
pub fn count_words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Returns how often each word occurs, in lower case and without punctuation at its ends.
pub fn word_frequencies(text: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for word in text.split_whitespace() {
        let clean = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        if !clean.is_empty() {
            *counts.entry(clean).or_insert(0) += 1;
        }
    }
    counts
}

/// Tells whether a text reads the same in both directions, ignoring case and everything but letters and digits.
pub fn is_palindrome(text: &str) -> bool {
    let letters: Vec<char> = text
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(|c| c.to_lowercase())
        .collect();
    letters.iter().eq(letters.iter().rev())
}

/// Tells whether two texts use the same letters equally often, ignoring case and white space.
pub fn is_anagram(first: &str, second: &str) -> bool {
    let sorted = |text: &str| {
        let mut letters: Vec<char> = text
            .chars()
            .filter(|c| !c.is_whitespace())
            .flat_map(|c| c.to_lowercase())
            .collect();
        letters.sort_unstable();
        letters
    };
    sorted(first) == sorted(second)
}

/// Converts an identifier in camel case to snake case.
pub fn camel_to_snake(name: &str) -> String {
    let mut result = String::new();
    for (index, letter) in name.chars().enumerate() {
        if letter.is_uppercase() {
            if index > 0 {
                result.push('_');
            }
            result.extend(letter.to_lowercase());
        } else {
            result.push(letter);
        }
    }
    result
}

/// Converts an identifier in snake case to camel case with a capital first letter.
pub fn snake_to_camel(name: &str) -> String {
    let mut result = String::new();
    for part in name.split('_').filter(|part| !part.is_empty()) {
        let mut letters = part.chars();
        if let Some(first) = letters.next() {
            result.extend(first.to_uppercase());
            result.push_str(letters.as_str());
        }
    }
    result
}

/// Makes the first letter of every word a capital and leaves the others as they are.
pub fn title_case(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut at_start = true;
    for letter in text.chars() {
        if at_start {
            result.extend(letter.to_uppercase());
        } else {
            result.push(letter);
        }
        at_start = letter.is_whitespace();
    }
    result
}

/// Shortens a text to at most `limit` characters, the last of which is an ellipsis if anything was cut.
pub fn truncate(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_string();
    }
    if limit == 0 {
        return String::new();
    }
    let mut result: String = text.chars().take(limit - 1).collect();
    result.push('…');
    result
}

/// Breaks a text into lines of at most `width` characters at white space. A longer word gets a line of its own.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

/// Computes the Levenshtein distance: the fewest insertions, deletions and replacements that turn one text into the other.
pub fn edit_distance(first: &str, second: &str) -> usize {
    let target: Vec<char> = second.chars().collect();
    let mut row: Vec<usize> = (0..=target.len()).collect();
    for (i, letter) in first.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in target.iter().enumerate() {
            let cost = if letter == *other { diagonal } else { diagonal + 1 };
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[target.len()]
}

/// Returns the longest prefix that all given texts share.
pub fn common_prefix(texts: &[&str]) -> String {
    let Some((first, others)) = texts.split_first() else {
        return String::new();
    };
    let mut end = first.len();
    for other in others {
        let shared = first
            .char_indices()
            .zip(other.chars())
            .take_while(|((_, a), b)| a == b)
            .map(|((index, a), _)| index + a.len_utf8())
            .last()
            .unwrap_or(0);
        end = end.min(shared);
    }
    first[..end].to_string()
}

/// Counts the vowels a, e, i, o and u in either case.
pub fn count_vowels(text: &str) -> usize {
    text.chars()
        .filter(|c| matches!(c.to_ascii_lowercase(), 'a' | 'e' | 'i' | 'o' | 'u'))
        .count()
}

/// Shifts every ASCII letter by a number of places in the alphabet and leaves all else alone.
pub fn caesar(text: &str, shift: u8) -> String {
    text.chars()
        .map(|letter| {
            let start = match letter {
                'a'..='z' => b'a',
                'A'..='Z' => b'A',
                _ => return letter,
            };
            let moved = (letter as u8 - start + shift % 26) % 26;
            (start + moved) as char
        })
        .collect()
}

/// Reverses the order of the words and puts a single space between them.
pub fn reverse_words(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().rev().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_count_words() {
        assert_eq!(count_words("  one two\nthree "), 3);
        assert_eq!(count_words(""), 0);
    }

    #[test]
    fn test_word_frequencies() {
        let counts = word_frequencies("The cat, the hat!");
        assert_eq!(counts["the"], 2);
        assert_eq!(counts["hat"], 1);
        assert_eq!(counts.len(), 3);
    }

    #[test]
    fn test_is_palindrome() {
        assert!(is_palindrome("A man, a plan, a canal: Panama"));
        assert!(!is_palindrome("rust"));
    }

    #[test]
    fn test_is_anagram() {
        assert!(is_anagram("Listen", "Silent"));
        assert!(!is_anagram("apple", "pale"));
    }

    #[test]
    fn test_camel_to_snake() {
        assert_eq!(camel_to_snake("parseHttpHeader"), "parse_http_header");
        assert_eq!(camel_to_snake("Reader"), "reader");
    }

    #[test]
    fn test_snake_to_camel() {
        assert_eq!(snake_to_camel("parse_http_header"), "ParseHttpHeader");
        assert_eq!(snake_to_camel("__x_"), "X");
    }

    #[test]
    fn test_title_case() {
        assert_eq!(title_case("the old man"), "The Old Man");
        assert_eq!(title_case(""), "");
    }

    #[test]
    fn test_truncate() {
        assert_eq!(truncate("abcdef", 4), "abc…");
        assert_eq!(truncate("abc", 4), "abc");
        assert_eq!(truncate("abc", 0), "");
    }

    #[test]
    fn test_wrap() {
        assert_eq!(wrap("to be or not", 5), vec!["to be", "or", "not"]);
        assert!(wrap("  ", 5).is_empty());
    }

    #[test]
    fn test_edit_distance() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
    }

    #[test]
    fn test_common_prefix() {
        assert_eq!(common_prefix(&["flower", "flow", "flight"]), "fl");
        assert_eq!(common_prefix(&[]), "");
    }

    #[test]
    fn test_count_vowels() {
        assert_eq!(count_vowels("Education"), 5);
    }

    #[test]
    fn test_caesar() {
        assert_eq!(caesar("Hello, xyz", 3), "Khoor, abc");
        assert_eq!(caesar(&caesar("Round", 7), 19), "Round");
    }

    #[test]
    fn test_reverse_words() {
        assert_eq!(reverse_words("  the sky is  blue "), "blue is sky the");
    }
}
