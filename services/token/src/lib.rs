//! The token service: issues, rotates, verifies and revokes.
