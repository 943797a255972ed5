//! The identity service: users, passwords, and who may log in.
