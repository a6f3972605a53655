//! Ways to write bytes and numbers.

/// Writes bytes in lower-case hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{:02x}", byte)).collect()
}

/// Reads hexadecimal digits as bytes, or `None` for an odd number of digits or a letter that is none.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|letter| letter.to_digit(16)).collect();
    let digits = digits?;
    if digits.len() % 2 == 1 {
        return None;
    }
    Some(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

/// Writes a number in Roman numerals, or `None` outside 1 to 3999.
pub fn to_roman(number: u32) -> Option<String> {
    if number == 0 || number > 3999 {
        return None;
    }
    let steps = [
        (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"),
        (4, "IV"), (1, "I"),
    ];
    let mut rest = number;
    let mut text = String::new();
    for (value, letters) in steps {
        while rest >= value {
            text.push_str(letters);
            rest -= value;
        }
    }
    Some(text)
}

/// Reads Roman numerals, or `None` if a letter is no numeral.
pub fn from_roman(text: &str) -> Option<u32> {
    let mut total = 0;
    let mut last = 0;
    for letter in text.chars().rev() {
        let value = match letter {
            'I' => 1,
            'V' => 5,
            'X' => 10,
            'L' => 50,
            'C' => 100,
            'D' => 500,
            'M' => 1000,
            _ => return None,
        };
        if value < last {
            total -= value;
        } else {
            total += value;
            last = value;
        }
    }
    Some(total)
}

/// Compresses a text: every letter is followed by the number of times that it repeats.
pub fn run_length_encode(text: &str) -> String {
    let mut result = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut count = 1;
        while letters.peek() == Some(&letter) {
            letters.next();
            count += 1;
        }
        result.push(letter);
        result.push_str(&count.to_string());
    }
    result
}

/// Expands what `run_length_encode` wrote; a letter without a number stands for itself once.
pub fn run_length_decode(text: &str) -> String {
    let mut result = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut digits = String::new();
        while let Some(digit) = letters.next_if(|next| next.is_ascii_digit()) {
            digits.push(digit);
        }
        let count = digits.parse().unwrap_or(1);
        for _ in 0..count {
            result.push(letter);
        }
    }
    result
}

/// Computes the Adler-32 checksum of bytes.
pub fn adler32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1u32, 0u32);
    for byte in bytes {
        low = (low + *byte as u32) % 65521;
        high = (high + low) % 65521;
    }
    high << 16 | low
}

/// Computes the 64-bit FNV-1a hash of bytes.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in bytes {
        hash ^= *byte as u64;
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// Writes a number in a base from 2 to 36 with lower-case letters, or `None` for another base.
pub fn to_base(number: u64, base: u32) -> Option<String> {
    if !(2..=36).contains(&base) {
        return None;
    }
    let mut rest = number;
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit((rest % base as u64) as u32, base)?);
        rest /= base as u64;
        if rest == 0 {
            break;
        }
    }
    Some(digits.iter().rev().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_to_hex() {
        assert_eq!(to_hex(&[0, 15, 255]), "000fff");
    }

    #[test]
    fn test_from_hex() {
        assert_eq!(from_hex("00fF"), Some(vec![0, 255]));
        assert_eq!(from_hex("abc"), None);
        assert_eq!(from_hex("zz"), None);
    }

    #[test]
    fn test_to_roman() {
        assert_eq!(to_roman(1994).as_deref(), Some("MCMXCIV"));
        assert_eq!(to_roman(0), None);
        assert_eq!(to_roman(4000), None);
    }

    #[test]
    fn test_from_roman() {
        assert_eq!(from_roman("MCMXCIV"), Some(1994));
        assert_eq!(from_roman("ABC"), None);
    }

    #[test]
    fn test_run_length_encode() {
        assert_eq!(run_length_encode("aaabcc"), "a3b1c2");
        assert_eq!(run_length_encode(""), "");
    }

    #[test]
    fn test_run_length_decode() {
        assert_eq!(run_length_decode("a3bc2"), "aaabcc");
    }

    #[test]
    fn test_adler32() {
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
        assert_eq!(adler32(b""), 1);
    }

    #[test]
    fn test_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn test_to_base() {
        assert_eq!(to_base(255, 16).as_deref(), Some("ff"));
        assert_eq!(to_base(0, 2).as_deref(), Some("0"));
        assert_eq!(to_base(5, 1), None);
    }
}
