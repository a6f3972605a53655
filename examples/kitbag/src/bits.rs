//! Bits of integers.

/// Counts the bits that are set.
pub fn count_ones(value: u64) -> u32 {
    let mut rest = value;
    let mut count = 0;
    while rest != 0 {
        rest &= rest - 1;
        count += 1;
    }
    count
}

/// Tells whether a number is a power of two. Zero is none.
pub fn is_power_of_two(value: u64) -> bool {
    value != 0 && value & (value - 1) == 0
}

/// Returns the smallest power of two that is not less than a number, or `None` if there is none in 64 bits.
pub fn next_power_of_two(value: u64) -> Option<u64> {
    let mut power = 1u64;
    while power < value {
        power = power.checked_mul(2)?;
    }
    Some(power)
}

/// Sets or clears a bit of a number. Bits beyond the 64th are ignored.
pub fn with_bit(value: u64, bit: u32, on: bool) -> u64 {
    if bit >= 64 {
        return value;
    }
    let mask = 1 << bit;
    if on {
        value | mask
    } else {
        value & !mask
    }
}

/// Counts the bits in which two numbers differ.
pub fn hamming_distance(first: u64, second: u64) -> u32 {
    count_ones(first ^ second)
}

/// Returns the parity of a number: whether an odd number of its bits is set.
pub fn parity(value: u64) -> bool {
    count_ones(value) % 2 == 1
}

/// Converts a number to its Gray code, in which neighbours differ in a single bit.
pub fn to_gray(value: u64) -> u64 {
    value ^ (value >> 1)
}

/// Converts a Gray code back to the number that it stands for.
pub fn from_gray(code: u64) -> u64 {
    let mut value = code;
    let mut shifted = code >> 1;
    while shifted != 0 {
        value ^= shifted;
        shifted >>= 1;
    }
    value
}

/// Writes a number in binary with at least a given number of digits.
pub fn to_binary(value: u64, digits: usize) -> String {
    let mut text = String::new();
    let mut rest = value;
    while rest > 0 || text.len() < digits {
        text.insert(0, if rest & 1 == 1 { '1' } else { '0' });
        rest >>= 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_count_ones() {
        assert_eq!(count_ones(0b1011), 3);
        assert_eq!(count_ones(0), 0);
    }

    #[test]
    fn test_is_power_of_two() {
        assert!(is_power_of_two(64));
        assert!(!is_power_of_two(0));
        assert!(!is_power_of_two(6));
    }

    #[test]
    fn test_next_power_of_two() {
        assert_eq!(next_power_of_two(5), Some(8));
        assert_eq!(next_power_of_two(0), Some(1));
        assert_eq!(next_power_of_two(u64::MAX), None);
    }

    #[test]
    fn test_with_bit() {
        assert_eq!(with_bit(0b100, 0, true), 0b101);
        assert_eq!(with_bit(0b101, 2, false), 0b001);
        assert_eq!(with_bit(5, 64, true), 5);
    }

    #[test]
    fn test_hamming_distance() {
        assert_eq!(hamming_distance(0b1010, 0b0110), 2);
    }

    #[test]
    fn test_parity() {
        assert!(parity(0b111));
        assert!(!parity(0b11));
    }

    #[test]
    fn test_to_gray() {
        assert_eq!(to_gray(2), 3);
        assert_eq!(to_gray(7), 4);
    }

    #[test]
    fn test_from_gray() {
        for value in 0..100 {
            assert_eq!(from_gray(to_gray(value)), value);
        }
    }

    #[test]
    fn test_to_binary() {
        assert_eq!(to_binary(5, 6), "000101");
        assert_eq!(to_binary(0, 1), "0");
    }
}
