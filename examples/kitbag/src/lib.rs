//! Small, self-contained functions with documentation and tests. Paceline's embedded Rust sample is made from them.

pub mod bits;
pub mod calendar;
pub mod encoding;
pub mod geometry;
pub mod graph;
pub mod lists;
pub mod matrix;
pub mod money;
pub mod numbers;
pub mod parse;
pub mod search;
pub mod stats;
pub mod text;
