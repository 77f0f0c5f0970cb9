//! Three builders: an origin that does as it is told, the proxy in between, and a client that
//! sees every byte.

pub mod app;
pub mod client;
pub mod kept;
pub mod http2;
pub mod dns;
pub mod stepping;
pub mod origin;
pub mod process;
pub mod proxy;
pub mod tls;

pub use app::App;
pub use client::{Response, exchange_raw, request};
pub use kept::Kept;
pub use origin::{Gate, Origin, Reply, ok};
pub use process::Process;
pub use proxy::Proxy;

use std::time::Duration;

/// Waits, in small steps and with a limit, for something that happens behind an answer.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}
