//! What happened: each fact of a request written once, then logged and counted.

pub mod exchange;
pub mod access;
pub mod line;
pub mod logs;
pub mod metrics;
