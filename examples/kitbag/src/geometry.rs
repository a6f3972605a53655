//! Points, rectangles and polygons in the plane.

/// A point in the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// A rectangle with sides along the axes, given by two opposite corners.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    pub min: Point,
    pub max: Point,
}

/// Makes a point from its coordinates.
pub fn point(x: f64, y: f64) -> Point {
    Point { x, y }
}

/// Returns the straight-line distance between two points.
pub fn distance(a: Point, b: Point) -> f64 {
    (a.x - b.x).hypot(a.y - b.y)
}

/// Returns the distance between two points along the axes.
pub fn manhattan_distance(a: Point, b: Point) -> f64 {
    (a.x - b.x).abs() + (a.y - b.y).abs()
}

/// Returns the point half-way between two points.
pub fn midpoint(a: Point, b: Point) -> Point {
    point((a.x + b.x) / 2.0, (a.y + b.y) / 2.0)
}

/// Turns a point around the origin by an angle in radians, against the clock.
pub fn rotate(p: Point, angle: f64) -> Point {
    let (sin, cos) = angle.sin_cos();
    point(p.x * cos - p.y * sin, p.x * sin + p.y * cos)
}

/// Computes the area of a polygon by the shoelace formula. The corners may run in either direction.
pub fn polygon_area(corners: &[Point]) -> f64 {
    let mut twice = 0.0;
    for (index, corner) in corners.iter().enumerate() {
        let next = corners[(index + 1) % corners.len()];
        twice += corner.x * next.y - next.x * corner.y;
    }
    twice.abs() / 2.0
}

/// Returns the smallest rectangle that holds all points, or `None` if there are none.
pub fn bounding_box(points: &[Point]) -> Option<Rect> {
    let first = *points.first()?;
    let mut bounds = Rect { min: first, max: first };
    for p in points {
        bounds.min.x = bounds.min.x.min(p.x);
        bounds.min.y = bounds.min.y.min(p.y);
        bounds.max.x = bounds.max.x.max(p.x);
        bounds.max.y = bounds.max.y.max(p.y);
    }
    Some(bounds)
}

/// Tells whether a point lies in a rectangle or on its border.
pub fn contains(rect: Rect, p: Point) -> bool {
    p.x >= rect.min.x && p.x <= rect.max.x && p.y >= rect.min.y && p.y <= rect.max.y
}

/// Returns the common part of two rectangles, or `None` if they do not touch.
pub fn overlap(a: Rect, b: Rect) -> Option<Rect> {
    let min = point(a.min.x.max(b.min.x), a.min.y.max(b.min.y));
    let max = point(a.max.x.min(b.max.x), a.max.y.min(b.max.y));
    if min.x > max.x || min.y > max.y {
        return None;
    }
    Some(Rect { min, max })
}

/// Computes the area of a triangle from the lengths of its sides by Heron's formula, or `None` if there is no such triangle.
pub fn triangle_area(a: f64, b: f64, c: f64) -> Option<f64> {
    if a + b <= c || b + c <= a || a + c <= b {
        return None;
    }
    let half = (a + b + c) / 2.0;
    Some((half * (half - a) * (half - b) * (half - c)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_point() {
        assert_eq!(point(1.0, 2.0), Point { x: 1.0, y: 2.0 });
    }

    #[test]
    fn test_distance() {
        assert_eq!(distance(point(0.0, 0.0), point(3.0, 4.0)), 5.0);
    }

    #[test]
    fn test_manhattan_distance() {
        assert_eq!(manhattan_distance(point(1.0, 1.0), point(-1.0, 4.0)), 5.0);
    }

    #[test]
    fn test_midpoint() {
        assert_eq!(midpoint(point(0.0, 2.0), point(4.0, 4.0)), point(2.0, 3.0));
    }

    #[test]
    fn test_rotate() {
        let turned = rotate(point(1.0, 0.0), std::f64::consts::FRAC_PI_2);
        assert!(distance(turned, point(0.0, 1.0)) < 1e-12);
    }

    #[test]
    fn test_polygon_area() {
        let square = [point(0.0, 0.0), point(2.0, 0.0), point(2.0, 2.0), point(0.0, 2.0)];
        assert_eq!(polygon_area(&square), 4.0);
        assert_eq!(polygon_area(&[]), 0.0);
    }

    #[test]
    fn test_bounding_box() {
        let bounds = bounding_box(&[point(1.0, 5.0), point(-2.0, 3.0)]).unwrap();
        assert_eq!(bounds, Rect { min: point(-2.0, 3.0), max: point(1.0, 5.0) });
        assert_eq!(bounding_box(&[]), None);
    }

    #[test]
    fn test_contains() {
        let rect = Rect { min: point(0.0, 0.0), max: point(2.0, 1.0) };
        assert!(contains(rect, point(2.0, 0.5)));
        assert!(!contains(rect, point(2.1, 0.5)));
    }

    #[test]
    fn test_overlap() {
        let a = Rect { min: point(0.0, 0.0), max: point(2.0, 2.0) };
        let b = Rect { min: point(1.0, 1.0), max: point(3.0, 3.0) };
        let far = Rect { min: point(5.0, 5.0), max: point(6.0, 6.0) };
        assert_eq!(overlap(a, b), Some(Rect { min: point(1.0, 1.0), max: point(2.0, 2.0) }));
        assert_eq!(overlap(a, far), None);
    }

    #[test]
    fn test_triangle_area() {
        assert_eq!(triangle_area(3.0, 4.0, 5.0), Some(6.0));
        assert_eq!(triangle_area(1.0, 2.0, 5.0), None);
    }
}
