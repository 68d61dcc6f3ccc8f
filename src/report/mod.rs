//! Result structs to pictures and pages.
