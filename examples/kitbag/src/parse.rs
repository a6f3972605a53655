//! Small parsers.

use std::collections::HashMap;

/// Splits a line of comma-separated values. Fields in double quotes may hold commas, and two double quotes stand for one.
pub fn parse_csv_line(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let last = fields.len() - 1;
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                fields[last].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields[last].push(letter),
        }
    }
    fields
}

/// Reads lines of "key = value". Empty lines and lines that start with '#' are skipped, others without '=' as well.
pub fn parse_settings(text: &str) -> HashMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_string(), value.trim().to_string()))
        .collect()
}

/// Reads a query string such as "a=1&b=2" into pairs, in order. A key without '=' gets an empty value.
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once('=') {
            Some((key, value)) => (key.to_string(), value.to_string()),
            None => (part.to_string(), String::new()),
        })
        .collect()
}

/// Reads a size such as "10", "4k" or "2M" as a number of bytes; the letters k, m and g stand for powers of 1024.
pub fn parse_size(text: &str) -> Option<u64> {
    let clean = text.trim();
    let letter = clean.chars().last()?.to_ascii_lowercase();
    let factor = match letter {
        'k' => 1 << 10,
        'm' => 1 << 20,
        'g' => 1 << 30,
        _ => return clean.parse().ok(),
    };
    let number: u64 = clean[..clean.len() - 1].parse().ok()?;
    number.checked_mul(factor)
}

/// Reads a colour such as "#ff8000" as red, green and blue.
pub fn parse_color(text: &str) -> Option<(u8, u8, u8)> {
    let digits = text.strip_prefix('#')?;
    if digits.len() != 6 || !digits.is_ascii() {
        return None;
    }
    let part = |start: usize| u8::from_str_radix(&digits[start..start + 2], 16).ok();
    Some((part(0)?, part(2)?, part(4)?))
}

/// Reads a version such as "1.2.3" into its three numbers.
pub fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.trim().split('.').map(|part| part.parse().ok());
    let version = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() {
        return None;
    }
    Some(version)
}

/// Tells whether every bracket of a text is closed by its own kind, in the right order.
pub fn brackets_match(text: &str) -> bool {
    let mut open = Vec::new();
    for letter in text.chars() {
        match letter {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' => {
                if open.pop() != Some(letter) {
                    return false;
                }
            }
            _ => {}
        }
    }
    open.is_empty()
}

/// Computes an expression in reverse Polish notation, or `None` if it is malformed or divides by zero.
pub fn eval_rpn(expression: &str) -> Option<i64> {
    let mut stack: Vec<i64> = Vec::new();
    for token in expression.split_whitespace() {
        if let Ok(number) = token.parse() {
            stack.push(number);
            continue;
        }
        let right = stack.pop()?;
        let left = stack.pop()?;
        stack.push(match token {
            "+" => left + right,
            "-" => left - right,
            "*" => left * right,
            "/" => left.checked_div(right)?,
            _ => return None,
        });
    }
    if stack.len() == 1 {
        stack.pop()
    } else {
        None
    }
}

/// Reads a list of numbers and ranges such as "1-3,7" into the numbers that it names.
pub fn parse_ranges(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((low, high)) => {
                let first: u32 = low.trim().parse().ok()?;
                let last: u32 = high.trim().parse().ok()?;
                numbers.extend(first..=last);
            }
            None => numbers.push(part.trim().parse().ok()?),
        }
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_parse_csv_line() {
        assert_eq!(parse_csv_line("a,\"b,c\",\"d\"\"e\""), vec!["a", "b,c", "d\"e"]);
        assert_eq!(parse_csv_line(""), vec![""]);
    }

    #[test]
    fn test_parse_settings() {
        let settings = parse_settings("# comment\nname = rust\n\nbroken\nlevel=3");
        assert_eq!(settings["name"], "rust");
        assert_eq!(settings["level"], "3");
        assert_eq!(settings.len(), 2);
    }

    #[test]
    fn test_parse_query() {
        let pairs = parse_query("a=1&flag&b=x=y");
        assert_eq!(pairs[0], ("a".to_string(), "1".to_string()));
        assert_eq!(pairs[1], ("flag".to_string(), String::new()));
        assert_eq!(pairs[2], ("b".to_string(), "x=y".to_string()));
    }

    #[test]
    fn test_parse_size() {
        assert_eq!(parse_size("10"), Some(10));
        assert_eq!(parse_size("4k"), Some(4096));
        assert_eq!(parse_size("2M"), Some(2_097_152));
        assert_eq!(parse_size("x"), None);
    }

    #[test]
    fn test_parse_color() {
        assert_eq!(parse_color("#ff8000"), Some((255, 128, 0)));
        assert_eq!(parse_color("ff8000"), None);
        assert_eq!(parse_color("#ff80"), None);
    }

    #[test]
    fn test_parse_version() {
        assert_eq!(parse_version("1.20.3"), Some((1, 20, 3)));
        assert_eq!(parse_version("1.2"), None);
        assert_eq!(parse_version("1.2.3.4"), None);
    }

    #[test]
    fn test_brackets_match() {
        assert!(brackets_match("f(a[0]) { }"));
        assert!(!brackets_match("(]"));
        assert!(!brackets_match("("));
    }

    #[test]
    fn test_eval_rpn() {
        assert_eq!(eval_rpn("3 4 + 2 *"), Some(14));
        assert_eq!(eval_rpn("1 0 /"), None);
        assert_eq!(eval_rpn("1 2"), None);
    }

    #[test]
    fn test_parse_ranges() {
        assert_eq!(parse_ranges("1-3, 7"), Some(vec![1, 2, 3, 7]));
        assert_eq!(parse_ranges("a"), None);
    }
}
