//! A tunnel on its way from the proxy, which knows where it leads, to the listener, which runs it
//! once the client has its `101` (RFC 9110 section 15.2.2).

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use http::Extensions;

/// Joins a client's connection with another until one of them ends. Lies in the extensions of the
/// response that it comes after. Dropped unfinished, it closes both.
#[derive(Clone)]
pub struct Tunnel(Arc<Mutex<Option<Run>>>);

/// What runs it.
pub type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Tunnel {
    /// One that `run` runs.
    pub fn new(run: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::pin(run)))))
    }

    /// What runs the tunnel that comes after a response with these extensions, if one does.
    pub fn take(extensions: &mut Extensions) -> Option<Run> {
        let tunnel = extensions.remove::<Self>()?;
        tunnel.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}
