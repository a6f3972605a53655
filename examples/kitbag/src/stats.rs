//! Statistics of samples.

/// Returns the arithmetic mean, or `None` for an empty sample.
pub fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    Some(values.iter().sum::<f64>() / values.len() as f64)
}

/// Returns the median: the middle value of the sorted sample, or the mean of the two middle ones.
pub fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.total_cmp(b));
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        Some(sorted[middle])
    } else {
        Some((sorted[middle - 1] + sorted[middle]) / 2.0)
    }
}

/// Returns the variance with Bessel's correction, or `None` for fewer than two values.
pub fn variance(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let center = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    Some(squares / (values.len() - 1) as f64)
}

/// Returns the value below which a share of the sample lies, with linear interpolation. The share is clamped to 0..=1.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.total_cmp(b));
    let place = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = place.ceil() as usize;
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64))
}

/// Returns the correlation coefficient of two samples of equal length, or `None` if one of them does not vary.
pub fn correlation(first: &[f64], second: &[f64]) -> Option<f64> {
    if first.len() != second.len() {
        return None;
    }
    let (mean_first, mean_second) = (mean(first)?, mean(second)?);
    let mut product = 0.0;
    let (mut spread_first, mut spread_second) = (0.0, 0.0);
    for (a, b) in first.iter().zip(second) {
        product += (a - mean_first) * (b - mean_second);
        spread_first += (a - mean_first).powi(2);
        spread_second += (b - mean_second).powi(2);
    }
    let scale = (spread_first * spread_second).sqrt();
    if scale == 0.0 {
        None
    } else {
        Some(product / scale)
    }
}

/// Counts how many values fall into each of a number of equal bins between a low and a high bound. Values outside are left out.
pub fn histogram(values: &[f64], low: f64, high: f64, bins: usize) -> Vec<usize> {
    let mut counts = vec![0; bins];
    let width = (high - low) / bins as f64;
    for value in values {
        if *value < low || *value > high || bins == 0 {
            continue;
        }
        let bin = ((value - low) / width) as usize;
        counts[bin.min(bins - 1)] += 1;
    }
    counts
}

/// Scales values linearly so that the smallest becomes 0 and the largest 1. Equal values all become 0.
pub fn normalize(values: &[f64]) -> Vec<f64> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = high - low;
    values
        .iter()
        .map(|value| if range > 0.0 { (value - low) / range } else { 0.0 })
        .collect()
}

/// Smooths a series: each value is mixed with the smoothed value before it, with a weight for the new one.
pub fn exponential_average(values: &[f64], weight: f64) -> Vec<f64> {
    let mut smoothed = Vec::with_capacity(values.len());
    for value in values {
        let next = match smoothed.last() {
            Some(last) => weight * value + (1.0 - weight) * last,
            None => *value,
        };
        smoothed.push(next);
    }
    smoothed
}

/// Returns the mean of every window of a width, from left to right.
pub fn moving_average(values: &[f64], width: usize) -> Vec<f64> {
    if width == 0 {
        return Vec::new();
    }
    values
        .windows(width)
        .map(|window| window.iter().sum::<f64>() / width as f64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_mean() {
        assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn test_median() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn test_variance() {
        assert_eq!(variance(&[1.0, 2.0, 3.0]), Some(1.0));
        assert_eq!(variance(&[1.0]), None);
    }

    #[test]
    fn test_quantile() {
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[0.0, 10.0], 0.25), Some(2.5));
        assert_eq!(quantile(&[0.0, 10.0], 7.0), Some(10.0));
    }

    #[test]
    fn test_correlation() {
        assert_eq!(correlation(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]), Some(1.0));
        assert_eq!(correlation(&[1.0, 1.0], &[2.0, 4.0]), None);
        assert_eq!(correlation(&[1.0], &[2.0, 4.0]), None);
    }

    #[test]
    fn test_histogram() {
        assert_eq!(histogram(&[0.0, 0.4, 0.6, 1.0, 3.0], 0.0, 1.0, 2), vec![2, 2]);
    }

    #[test]
    fn test_normalize() {
        assert_eq!(normalize(&[2.0, 4.0, 3.0]), vec![0.0, 1.0, 0.5]);
        assert_eq!(normalize(&[5.0, 5.0]), vec![0.0, 0.0]);
    }

    #[test]
    fn test_exponential_average() {
        assert_eq!(exponential_average(&[4.0, 0.0, 2.0], 0.5), vec![4.0, 2.0, 2.0]);
    }

    #[test]
    fn test_moving_average() {
        assert_eq!(moving_average(&[1.0, 3.0, 5.0], 2), vec![2.0, 4.0]);
        assert!(moving_average(&[1.0], 0).is_empty());
    }
}
