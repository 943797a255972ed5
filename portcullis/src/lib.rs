//! What the `portcullis` binary does: starts roles, and carries out operators' commands. No logic of its own.

pub mod command;
pub mod config;
pub mod data;
pub mod reload;
pub mod role;
