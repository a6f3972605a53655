//! Slices and vectors: order, windows, groups and sets.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Removes repeated elements and keeps the first of each, in the original order.
pub fn unique<T: Clone + Eq + Hash>(items: &[T]) -> Vec<T> {
    let mut seen = HashSet::new();
    items.iter().filter(|item| seen.insert((*item).clone())).cloned().collect()
}

/// Cuts a slice into chunks of a size; the last one may be shorter. A size of zero gives no chunks.
pub fn chunks<T: Clone>(items: &[T], size: usize) -> Vec<Vec<T>> {
    if size == 0 {
        return Vec::new();
    }
    items.chunks(size).map(|chunk| chunk.to_vec()).collect()
}

/// Moves every element a number of places to the left; what leaves at the front comes back at the end.
pub fn rotate_left<T: Clone>(items: &[T], places: usize) -> Vec<T> {
    if items.is_empty() {
        return Vec::new();
    }
    let middle = places % items.len();
    let mut result = items[middle..].to_vec();
    result.extend_from_slice(&items[..middle]);
    result
}

/// Merges two sorted slices into one sorted vector. Equal elements of the first come first.
pub fn merge_sorted(left: &[i64], right: &[i64]) -> Vec<i64> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        if left[i] <= right[j] {
            merged.push(left[i]);
            i += 1;
        } else {
            merged.push(right[j]);
            j += 1;
        }
    }
    merged.extend_from_slice(&left[i..]);
    merged.extend_from_slice(&right[j..]);
    merged
}

/// Returns the running totals of a slice.
pub fn prefix_sums(values: &[i64]) -> Vec<i64> {
    let mut total = 0;
    values
        .iter()
        .map(|value| {
            total += value;
            total
        })
        .collect()
}

/// Finds the largest sum of any non-empty run of neighbouring elements (Kadane), or `None` for an empty slice.
pub fn max_subarray(values: &[i64]) -> Option<i64> {
    let mut best = *values.first()?;
    let mut current = best;
    for value in &values[1..] {
        current = (current + value).max(*value);
        best = best.max(current);
    }
    Some(best)
}

/// Finds the places of two different elements that add up to a target.
pub fn two_sum(values: &[i64], target: i64) -> Option<(usize, usize)> {
    let mut places = HashMap::new();
    for (index, value) in values.iter().enumerate() {
        if let Some(other) = places.get(&(target - value)) {
            return Some((*other, index));
        }
        places.insert(*value, index);
    }
    None
}

/// Groups words by their length.
pub fn group_by_length(words: &[&str]) -> HashMap<usize, Vec<String>> {
    let mut groups: HashMap<usize, Vec<String>> = HashMap::new();
    for word in words {
        groups.entry(word.chars().count()).or_default().push(word.to_string());
    }
    groups
}

/// Compresses a slice to pairs of an element and the number of times that it follows itself.
pub fn run_lengths<T: Clone + PartialEq>(items: &[T]) -> Vec<(T, usize)> {
    let mut runs: Vec<(T, usize)> = Vec::new();
    for item in items {
        match runs.last_mut() {
            Some((last, count)) if last == item => *count += 1,
            _ => runs.push((item.clone(), 1)),
        }
    }
    runs
}

/// Returns the elements that both slices hold, in the order of the first and without repeats.
pub fn intersection(first: &[i64], second: &[i64]) -> Vec<i64> {
    let other: HashSet<i64> = second.iter().copied().collect();
    let mut seen = HashSet::new();
    first
        .iter()
        .copied()
        .filter(|value| other.contains(value) && seen.insert(*value))
        .collect()
}

/// Tells whether a slice is sorted in ascending order.
pub fn is_sorted(values: &[i64]) -> bool {
    values.windows(2).all(|pair| pair[0] <= pair[1])
}

/// Returns the maximum of every window of a width, from left to right.
pub fn window_maxima(values: &[i64], width: usize) -> Vec<i64> {
    if width == 0 {
        return Vec::new();
    }
    values
        .windows(width)
        .filter_map(|window| window.iter().max().copied())
        .collect()
}

/// Splits values into those that satisfy a limit and those above it, each in the original order.
pub fn partition_at(values: &[i64], limit: i64) -> (Vec<i64>, Vec<i64>) {
    let mut low = Vec::new();
    let mut high = Vec::new();
    for value in values {
        if *value <= limit {
            low.push(*value);
        } else {
            high.push(*value);
        }
    }
    (low, high)
}

/// Interleaves two slices; what is left of the longer one follows at the end.
pub fn interleave<T: Clone>(first: &[T], second: &[T]) -> Vec<T> {
    let mut result = Vec::with_capacity(first.len() + second.len());
    let shared = first.len().min(second.len());
    for index in 0..shared {
        result.push(first[index].clone());
        result.push(second[index].clone());
    }
    result.extend_from_slice(&first[shared..]);
    result.extend_from_slice(&second[shared..]);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_unique() {
        assert_eq!(unique(&[3, 1, 3, 2, 1]), vec![3, 1, 2]);
    }

    #[test]
    fn test_chunks() {
        assert_eq!(chunks(&[1, 2, 3, 4, 5], 2), vec![vec![1, 2], vec![3, 4], vec![5]]);
        assert!(chunks(&[1], 0).is_empty());
    }

    #[test]
    fn test_rotate_left() {
        assert_eq!(rotate_left(&[1, 2, 3, 4], 5), vec![2, 3, 4, 1]);
        assert!(rotate_left::<i32>(&[], 3).is_empty());
    }

    #[test]
    fn test_merge_sorted() {
        assert_eq!(merge_sorted(&[1, 4, 6], &[2, 4, 9]), vec![1, 2, 4, 4, 6, 9]);
        assert_eq!(merge_sorted(&[], &[1]), vec![1]);
    }

    #[test]
    fn test_prefix_sums() {
        assert_eq!(prefix_sums(&[1, 2, -3, 4]), vec![1, 3, 0, 4]);
    }

    #[test]
    fn test_max_subarray() {
        assert_eq!(max_subarray(&[-2, 1, -3, 4, -1, 2, 1, -5, 4]), Some(6));
        assert_eq!(max_subarray(&[-3, -1]), Some(-1));
        assert_eq!(max_subarray(&[]), None);
    }

    #[test]
    fn test_two_sum() {
        assert_eq!(two_sum(&[2, 7, 11, 15], 9), Some((0, 1)));
        assert_eq!(two_sum(&[3, 1], 6), None);
    }

    #[test]
    fn test_group_by_length() {
        let groups = group_by_length(&["a", "bb", "c"]);
        assert_eq!(groups[&1], vec!["a", "c"]);
        assert_eq!(groups[&2], vec!["bb"]);
    }

    #[test]
    fn test_run_lengths() {
        assert_eq!(run_lengths(&['a', 'a', 'b', 'a']), vec![('a', 2), ('b', 1), ('a', 1)]);
    }

    #[test]
    fn test_intersection() {
        assert_eq!(intersection(&[4, 2, 2, 9], &[2, 9, 1]), vec![2, 9]);
    }

    #[test]
    fn test_is_sorted() {
        assert!(is_sorted(&[1, 1, 2]));
        assert!(!is_sorted(&[2, 1]));
    }

    #[test]
    fn test_window_maxima() {
        assert_eq!(window_maxima(&[1, 3, 2, 5], 2), vec![3, 3, 5]);
        assert!(window_maxima(&[1], 0).is_empty());
    }

    #[test]
    fn test_partition_at() {
        assert_eq!(partition_at(&[5, 1, 4, 2], 3), (vec![1, 2], vec![5, 4]));
    }

    #[test]
    fn test_interleave() {
        assert_eq!(interleave(&[1, 3], &[2, 4, 5]), vec![1, 2, 3, 4, 5]);
    }
}
