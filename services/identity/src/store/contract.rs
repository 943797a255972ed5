//! What every database must do the same.
