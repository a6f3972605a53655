//! Searching and sorting.

use std::cmp::Ordering;

/// Finds the place of a value in a sorted slice by halving, or `None` if it is not there.
pub fn binary_search(values: &[i64], target: i64) -> Option<usize> {
    let (mut low, mut high) = (0, values.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match values[middle].cmp(&target) {
            Ordering::Equal => return Some(middle),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    None
}

/// Returns the first place at which a value could be inserted into a sorted slice so that it stays sorted.
pub fn lower_bound(values: &[i64], target: i64) -> usize {
    let (mut low, mut high) = (0, values.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if values[middle] < target {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Sorts a slice in place by insertion: quick for short or nearly sorted ones.
pub fn insertion_sort(values: &mut [i64]) {
    for index in 1..values.len() {
        let mut place = index;
        while place > 0 && values[place - 1] > values[place] {
            values.swap(place - 1, place);
            place -= 1;
        }
    }
}

/// Returns a sorted copy of a slice by merging halves.
pub fn merge_sort(values: &[i64]) -> Vec<i64> {
    if values.len() < 2 {
        return values.to_vec();
    }
    let (left, right) = values.split_at(values.len() / 2);
    crate::lists::merge_sorted(&merge_sort(left), &merge_sort(right))
}

/// Sorts a slice in place with a heap that grows from its front.
pub fn heap_sort(values: &mut [i64]) {
    for start in (0..values.len() / 2).rev() {
        sift_down(values, start);
    }
    for end in (1..values.len()).rev() {
        values.swap(0, end);
        sift_down(&mut values[..end], 0);
    }
}

/// Moves an element of a max-heap down until no child is larger.
pub fn sift_down(heap: &mut [i64], start: usize) {
    let mut parent = start;
    loop {
        let mut largest = parent;
        for child in [2 * parent + 1, 2 * parent + 2] {
            if child < heap.len() && heap[child] > heap[largest] {
                largest = child;
            }
        }
        if largest == parent {
            return;
        }
        heap.swap(parent, largest);
        parent = largest;
    }
}

/// Returns the k-th smallest value, counted from zero, by partitioning around pivots.
pub fn kth_smallest(values: &[i64], k: usize) -> Option<i64> {
    let pivot = *values.get(values.len() / 2)?;
    let smaller: Vec<i64> = values.iter().copied().filter(|value| *value < pivot).collect();
    let equal = values.iter().filter(|value| **value == pivot).count();
    if k < smaller.len() {
        return kth_smallest(&smaller, k);
    }
    if k < smaller.len() + equal {
        return Some(pivot);
    }
    let larger: Vec<i64> = values.iter().copied().filter(|value| *value > pivot).collect();
    kth_smallest(&larger, k - smaller.len() - equal)
}

/// Finds all places at which a pattern begins in a text, in bytes; occurrences may overlap.
pub fn find_all(text: &str, pattern: &str) -> Vec<usize> {
    if pattern.is_empty() || pattern.len() > text.len() {
        return Vec::new();
    }
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    (0..=text.len() - pattern.len())
        .filter(|start| &text[*start..*start + pattern.len()] == pattern)
        .collect()
}

/// Lists all orders of the elements of a slice.
pub fn permutations(items: &[i64]) -> Vec<Vec<i64>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for (index, first) in items.iter().enumerate() {
        let mut rest = items.to_vec();
        rest.remove(index);
        for mut order in permutations(&rest) {
            order.insert(0, *first);
            orders.push(order);
        }
    }
    orders
}

/// Returns the length of the longest strictly increasing subsequence.
pub fn longest_increasing(values: &[i64]) -> usize {
    let mut tails: Vec<i64> = Vec::new();
    for value in values {
        let place = lower_bound(&tails, *value);
        if place == tails.len() {
            tails.push(*value);
        } else {
            tails[place] = *value;
        }
    }
    tails.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_binary_search() {
        assert_eq!(binary_search(&[1, 3, 5, 7], 5), Some(2));
        assert_eq!(binary_search(&[1, 3, 5, 7], 4), None);
    }

    #[test]
    fn test_lower_bound() {
        assert_eq!(lower_bound(&[1, 3, 3, 5], 3), 1);
        assert_eq!(lower_bound(&[1, 3], 9), 2);
    }

    #[test]
    fn test_insertion_sort() {
        let mut values = [4, 1, 3, 1];
        insertion_sort(&mut values);
        assert_eq!(values, [1, 1, 3, 4]);
    }

    #[test]
    fn test_merge_sort() {
        assert_eq!(merge_sort(&[5, 2, 9, 1]), vec![1, 2, 5, 9]);
    }

    #[test]
    fn test_heap_sort() {
        let mut values = [3, 9, 2, 7, 1];
        heap_sort(&mut values);
        assert_eq!(values, [1, 2, 3, 7, 9]);
    }

    #[test]
    fn test_sift_down() {
        let mut heap = [1, 9, 8, 4];
        sift_down(&mut heap, 0);
        assert_eq!(heap, [9, 4, 8, 1]);
    }

    #[test]
    fn test_kth_smallest() {
        assert_eq!(kth_smallest(&[7, 2, 9, 2, 5], 2), Some(5));
        assert_eq!(kth_smallest(&[1], 3), None);
    }

    #[test]
    fn test_find_all() {
        assert_eq!(find_all("banana", "ana"), vec![1, 3]);
        assert!(find_all("a", "abc").is_empty());
    }

    #[test]
    fn test_permutations() {
        assert_eq!(permutations(&[1, 2, 3]).len(), 6);
        assert_eq!(permutations(&[1, 2])[1], vec![2, 1]);
    }

    #[test]
    fn test_longest_increasing() {
        assert_eq!(longest_increasing(&[10, 9, 2, 5, 3, 7, 101, 18]), 4);
        assert_eq!(longest_increasing(&[]), 0);
    }
}
