//! Training: schedules around the loop.

pub mod schedule;
