//! Amounts of money in whole cents.

/// Writes cents as an amount with two decimals: "-12.05".
pub fn format_cents(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let amount = cents.unsigned_abs();
    format!("{}{}.{:02}", sign, amount / 100, amount % 100)
}

/// Adds a tax given in basis points (hundredths of a percent), rounded half away from zero.
pub fn add_tax(cents: i64, basis_points: i64) -> i64 {
    let scaled = cents * basis_points;
    let half = if scaled < 0 { -5000 } else { 5000 };
    cents + (scaled + half) / 10_000
}

/// Shares an amount among a number of people so that no two shares differ by more than a cent.
pub fn split_evenly(cents: u64, people: usize) -> Vec<u64> {
    if people == 0 {
        return Vec::new();
    }
    let share = cents / people as u64;
    let extra = (cents % people as u64) as usize;
    (0..people).map(|index| if index < extra { share + 1 } else { share }).collect()
}

/// Returns the fewest coins that make an amount, or `None` if these coins cannot.
pub fn fewest_coins(coins: &[usize], amount: usize) -> Option<usize> {
    let mut best = vec![None; amount + 1];
    best[0] = Some(0);
    for target in 1..=amount {
        for &coin in coins {
            if coin == 0 || coin > target {
                continue;
            }
            if let Some(count) = best[target - coin] {
                let candidate: usize = count + 1;
                best[target] = Some(best[target].map_or(candidate, |old: usize| old.min(candidate)));
            }
        }
    }
    best[amount]
}

/// Counts the ways to make an amount from coins of which there are any number.
pub fn ways_to_pay(coins: &[usize], amount: usize) -> u64 {
    let mut ways = vec![0; amount + 1];
    ways[0] = 1;
    for &coin in coins {
        for target in coin..=amount {
            ways[target] += ways[target - coin];
        }
    }
    ways[amount]
}

/// Computes the value of an amount after a number of years of compound interest at a yearly rate.
pub fn compound(amount: f64, rate: f64, years: u32) -> f64 {
    let mut value = amount;
    for _ in 0..years {
        value += value * rate;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_format_cents() {
        assert_eq!(format_cents(-1205), "-12.05");
        assert_eq!(format_cents(7), "0.07");
    }

    #[test]
    fn test_add_tax() {
        assert_eq!(add_tax(1000, 1900), 1190);
        assert_eq!(add_tax(25, 1000), 28);
        assert_eq!(add_tax(-25, 1000), -28);
    }

    #[test]
    fn test_split_evenly() {
        assert_eq!(split_evenly(10, 3), vec![4, 3, 3]);
        assert!(split_evenly(10, 0).is_empty());
    }

    #[test]
    fn test_fewest_coins() {
        assert_eq!(fewest_coins(&[1, 5, 12], 15), Some(3));
        assert_eq!(fewest_coins(&[2], 3), None);
        assert_eq!(fewest_coins(&[2], 0), Some(0));
    }

    #[test]
    fn test_ways_to_pay() {
        assert_eq!(ways_to_pay(&[1, 2, 5], 5), 4);
    }

    #[test]
    fn test_compound() {
        assert!((compound(100.0, 0.1, 2) - 121.0).abs() < 1e-9);
        assert_eq!(compound(100.0, 0.1, 0), 100.0);
    }
}
