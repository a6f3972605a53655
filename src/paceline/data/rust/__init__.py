"""Task rows in Strandset-Rust's schema, made out of Rust code."""
