//! The rules, row by row; and what they promise, by schedules.

mod promises;
mod table;
