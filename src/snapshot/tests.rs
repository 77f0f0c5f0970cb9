//! Saves and loads as an operator sees them.
