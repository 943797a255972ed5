//! The example protected service: what a user copies to begin.
