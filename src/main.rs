//! The `dinoxide` command.
fn main() {}
