//! What happened: each fact of a request written once, then logged and counted.

pub mod exchange;
