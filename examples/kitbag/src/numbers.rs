//! Integers: divisors, primes, digits and sequences.

/// Returns the greatest common divisor of two numbers by Euclid's algorithm. The divisor of zero and `n` is `n`.
pub fn gcd(a: u64, b: u64) -> u64 {
    let (mut big, mut small) = (a, b);
    while small != 0 {
        let rest = big % small;
        big = small;
        small = rest;
    }
    big
}

/// Returns the least common multiple of two numbers, or `None` if it does not fit into 64 bits.
pub fn lcm(a: u64, b: u64) -> Option<u64> {
    if a == 0 || b == 0 {
        return Some(0);
    }
    (a / gcd(a, b)).checked_mul(b)
}

/// Tells whether a number is prime by trial division with odd candidates up to its square root.
pub fn is_prime(n: u64) -> bool {
    if n < 2 {
        return false;
    }
    if n % 2 == 0 {
        return n == 2;
    }
    let mut divisor = 3;
    while divisor * divisor <= n {
        if n % divisor == 0 {
            return false;
        }
        divisor += 2;
    }
    true
}

/// Lists all primes below a limit with the sieve of Eratosthenes.
pub fn primes_below(limit: usize) -> Vec<usize> {
    let mut composite = vec![false; limit];
    let mut primes = Vec::new();
    for candidate in 2..limit {
        if composite[candidate] {
            continue;
        }
        primes.push(candidate);
        let mut multiple = candidate * candidate;
        while multiple < limit {
            composite[multiple] = true;
            multiple += candidate;
        }
    }
    primes
}

/// Splits a number into its prime factors in ascending order, each as often as it divides the number.
pub fn prime_factors(n: u64) -> Vec<u64> {
    let mut rest = n;
    let mut factors = Vec::new();
    let mut divisor = 2;
    while divisor * divisor <= rest {
        while rest % divisor == 0 {
            factors.push(divisor);
            rest /= divisor;
        }
        divisor += 1;
    }
    if rest > 1 {
        factors.push(rest);
    }
    factors
}

/// Raises a base to a power modulo a modulus by repeated squaring. The modulus must not be zero.
pub fn pow_mod(base: u64, exponent: u64, modulus: u64) -> u64 {
    let mut result = 1 % modulus;
    let mut factor = base % modulus;
    let mut left = exponent;
    while left > 0 {
        if left % 2 == 1 {
            result = (result as u128 * factor as u128 % modulus as u128) as u64;
        }
        factor = (factor as u128 * factor as u128 % modulus as u128) as u64;
        left /= 2;
    }
    result
}

/// Returns the sum of the decimal digits of a number.
pub fn digit_sum(n: u64) -> u64 {
    let mut rest = n;
    let mut sum = 0;
    while rest > 0 {
        sum += rest % 10;
        rest /= 10;
    }
    sum
}

/// Returns the number whose decimal digits are those of `n` in reverse order, without leading zeros.
pub fn reverse_digits(n: u64) -> u64 {
    let mut rest = n;
    let mut reversed = 0;
    while rest > 0 {
        reversed = reversed * 10 + rest % 10;
        rest /= 10;
    }
    reversed
}

/// Computes the n-th Fibonacci number, starting from zero, or `None` on overflow.
pub fn fibonacci(n: u32) -> Option<u64> {
    let (mut current, mut next) = (0u64, 1u64);
    for _ in 0..n {
        let sum = current.checked_add(next)?;
        current = next;
        next = sum;
    }
    Some(current)
}

/// Counts the steps that the Collatz sequence takes from `n` down to one. Zero is given no steps.
pub fn collatz_steps(n: u64) -> u32 {
    let mut value = n;
    let mut steps = 0;
    while value > 1 {
        value = if value % 2 == 0 { value / 2 } else { 3 * value + 1 };
        steps += 1;
    }
    steps
}

/// Returns the largest integer whose square is not greater than `n`.
pub fn integer_sqrt(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let mut guess = n / 2;
    let mut better = (guess + n / guess) / 2;
    while better < guess {
        guess = better;
        better = (guess + n / guess) / 2;
    }
    guess
}

/// Tells whether a number equals the sum of its proper divisors.
pub fn is_perfect(n: u64) -> bool {
    if n < 2 {
        return false;
    }
    let mut sum = 1;
    let mut divisor = 2;
    while divisor * divisor <= n {
        if n % divisor == 0 {
            sum += divisor;
            if divisor * divisor != n {
                sum += n / divisor;
            }
        }
        divisor += 1;
    }
    sum == n
}

/// Computes the binomial coefficient "n choose k", or `None` on overflow.
pub fn binomial(n: u64, k: u64) -> Option<u64> {
    if k > n {
        return Some(0);
    }
    let smaller = k.min(n - k);
    let mut result = 1u64;
    for step in 0..smaller {
        result = result.checked_mul(n - step)? / (step + 1);
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_gcd() {
        assert_eq!(gcd(48, 18), 6);
        assert_eq!(gcd(0, 5), 5);
        assert_eq!(gcd(17, 13), 1);
    }

    #[test]
    fn test_lcm() {
        assert_eq!(lcm(4, 6), Some(12));
        assert_eq!(lcm(0, 6), Some(0));
        assert_eq!(lcm(u64::MAX, 2), None);
    }

    #[test]
    fn test_is_prime() {
        assert!(is_prime(2));
        assert!(is_prime(97));
        assert!(!is_prime(1));
        assert!(!is_prime(91));
    }

    #[test]
    fn test_primes_below() {
        assert_eq!(primes_below(20), vec![2, 3, 5, 7, 11, 13, 17, 19]);
        assert!(primes_below(2).is_empty());
    }

    #[test]
    fn test_prime_factors() {
        assert_eq!(prime_factors(360), vec![2, 2, 2, 3, 3, 5]);
        assert_eq!(prime_factors(13), vec![13]);
        assert!(prime_factors(1).is_empty());
    }

    #[test]
    fn test_pow_mod() {
        assert_eq!(pow_mod(2, 10, 1000), 24);
        assert_eq!(pow_mod(7, 0, 13), 1);
        assert_eq!(pow_mod(5, 3, 1), 0);
    }

    #[test]
    fn test_digit_sum() {
        assert_eq!(digit_sum(0), 0);
        assert_eq!(digit_sum(98765), 35);
    }

    #[test]
    fn test_reverse_digits() {
        assert_eq!(reverse_digits(1230), 321);
        assert_eq!(reverse_digits(7), 7);
    }

    #[test]
    fn test_fibonacci() {
        assert_eq!(fibonacci(0), Some(0));
        assert_eq!(fibonacci(10), Some(55));
        assert_eq!(fibonacci(200), None);
    }

    #[test]
    fn test_collatz_steps() {
        assert_eq!(collatz_steps(1), 0);
        assert_eq!(collatz_steps(6), 8);
        assert_eq!(collatz_steps(0), 0);
    }

    #[test]
    fn test_integer_sqrt() {
        assert_eq!(integer_sqrt(0), 0);
        assert_eq!(integer_sqrt(15), 3);
        assert_eq!(integer_sqrt(16), 4);
    }

    #[test]
    fn test_is_perfect() {
        assert!(is_perfect(28));
        assert!(!is_perfect(12));
        assert!(!is_perfect(1));
    }

    #[test]
    fn test_binomial() {
        assert_eq!(binomial(5, 2), Some(10));
        assert_eq!(binomial(3, 4), Some(0));
        assert_eq!(binomial(10, 10), Some(1));
    }
}
