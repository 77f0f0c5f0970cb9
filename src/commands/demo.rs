//! `larder demo`: a slow API of our own, and the cache in front of it.

use super::serve::{print, start};
use super::{Failure, events};
use crate::app;
use crate::cli::Demo;
use crate::config::Log;
use crate::config::simple::simple;
use crate::demo as origin;

/// Starts both and says what to try.
pub fn run(demo: &Demo) -> Result<(), Failure> {
    let log = Log::of_events("warn", None);
    drop(events::start(&log)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (address, _serving) = origin::start().await?;
        let to = format!("http://{address}");
        let config = simple(&to, demo.listen, demo.admin().cloned(), None).map_err(Failure::new)?;
        let running = start(config)?;
        print(&origin::guide(running.listeners[0], running.admin.as_ref(), address))?;
        app::wait_for_signals(running).await?;
        Ok(())
    })
}
