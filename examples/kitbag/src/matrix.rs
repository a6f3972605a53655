//! Matrices as vectors of rows.

/// Makes the identity matrix of a size.
pub fn identity(size: usize) -> Vec<Vec<f64>> {
    let mut rows = vec![vec![0.0; size]; size];
    for (index, row) in rows.iter_mut().enumerate() {
        row[index] = 1.0;
    }
    rows
}

/// Swaps rows and columns.
pub fn transpose(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let width = matrix.first().map_or(0, |row| row.len());
    (0..width)
        .map(|column| matrix.iter().map(|row| row[column]).collect())
        .collect()
}

/// Multiplies two matrices, or returns `None` if their shapes do not fit.
pub fn multiply(left: &[Vec<f64>], right: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let columns = transpose(right);
    let mut product = Vec::with_capacity(left.len());
    for row in left {
        if row.len() != right.len() {
            return None;
        }
        product.push(columns.iter().map(|column| dot(row, column)).collect());
    }
    Some(product)
}

/// Returns the sum of the products of the elements of two vectors; what one has more is ignored.
pub fn dot(first: &[f64], second: &[f64]) -> f64 {
    first.iter().zip(second).map(|(a, b)| a * b).sum()
}

/// Computes the determinant of a square matrix by Gaussian elimination with pivoting.
pub fn determinant(matrix: &[Vec<f64>]) -> f64 {
    let mut rows = matrix.to_vec();
    let mut result = 1.0;
    for column in 0..rows.len() {
        let pivot = (column..rows.len())
            .max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))
            .unwrap_or(column);
        if rows[pivot][column] == 0.0 {
            return 0.0;
        }
        if pivot != column {
            rows.swap(pivot, column);
            result = -result;
        }
        result *= rows[column][column];
        for lower in column + 1..rows.len() {
            let factor = rows[lower][column] / rows[column][column];
            for place in column..rows.len() {
                rows[lower][place] -= factor * rows[column][place];
            }
        }
    }
    result
}

/// Returns the sum of the diagonal elements.
pub fn trace(matrix: &[Vec<f64>]) -> f64 {
    matrix.iter().enumerate().map(|(index, row)| row[index]).sum()
}

/// Tells whether a matrix equals its transpose.
pub fn is_symmetric(matrix: &[Vec<f64>]) -> bool {
    transpose(matrix) == matrix
}

/// Lists the elements of a matrix in a spiral that starts at the top left and runs clockwise.
pub fn spiral(matrix: &[Vec<i64>]) -> Vec<i64> {
    let mut rest = matrix.to_vec();
    let mut order = Vec::new();
    while !rest.is_empty() {
        order.extend(rest.remove(0));
        let width = rest.first().map_or(0, |row| row.len());
        rest = (0..width)
            .rev()
            .map(|column| rest.iter().map(|row| row[column]).collect())
            .collect();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_identity() {
        assert_eq!(identity(2), vec![vec![1.0, 0.0], vec![0.0, 1.0]]);
    }

    #[test]
    fn test_transpose() {
        assert_eq!(transpose(&[vec![1.0, 2.0], vec![3.0, 4.0]]), vec![vec![1.0, 3.0], vec![2.0, 4.0]]);
        assert!(transpose(&[]).is_empty());
    }

    #[test]
    fn test_multiply() {
        let a = vec![vec![1.0, 2.0], vec![3.0, 4.0]];
        assert_eq!(multiply(&a, &identity(2)), Some(a.clone()));
        assert_eq!(multiply(&a, &[vec![1.0]]), None);
    }

    #[test]
    fn test_dot() {
        assert_eq!(dot(&[1.0, 2.0, 3.0], &[4.0, 5.0]), 14.0);
    }

    #[test]
    fn test_determinant() {
        assert!((determinant(&[vec![2.0, 1.0], vec![1.0, 3.0]]) - 5.0).abs() < 1e-12);
        assert_eq!(determinant(&[vec![1.0, 2.0], vec![2.0, 4.0]]), 0.0);
    }

    #[test]
    fn test_trace() {
        assert_eq!(trace(&[vec![1.0, 9.0], vec![9.0, 2.0]]), 3.0);
    }

    #[test]
    fn test_is_symmetric() {
        assert!(is_symmetric(&[vec![1.0, 2.0], vec![2.0, 1.0]]));
        assert!(!is_symmetric(&[vec![1.0, 2.0], vec![0.0, 1.0]]));
    }

    #[test]
    fn test_spiral() {
        assert_eq!(spiral(&[vec![1, 2, 3], vec![4, 5, 6], vec![7, 8, 9]]), vec![1, 2, 3, 6, 9, 8, 7, 4, 5]);
    }
}
