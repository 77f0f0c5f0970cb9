//! Larder.
pub mod clock;
pub mod body;
