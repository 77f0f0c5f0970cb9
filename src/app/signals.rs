//! Signals: how an operator stops the server and rotates its logs. (nginx: control)

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Running;

/// Runs until a signal ends it. `TERM` and `INT` finish the answers under way within the
/// configured time, `QUIT` however long they take; a second one ends at once. `USR1` opens the
/// access log anew.
///
/// # Errors
/// Signals cannot be received.
pub async fn wait(running: Running) -> io::Result<()> {
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        quit: signal(SignalKind::quit())?,
    };
    let mut reopen = signal(SignalKind::user_defined1())?;
    let patient = loop {
        tokio::select! {
            patient = signals.next() => break patient,
            _ = reopen.recv() => running.reopen_logs(),
        }
    };
    tracing::info!("draining; a second signal ends at once");
    tokio::select! {
        finished = running.drain(patient) => {
            if !finished {
                tracing::warn!("some answers were not finished in time");
            }
            running.end();
        }
        _ = signals.next() => {
            tracing::warn!("ended at once");
            running.abort();
        }
    }
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// The next signal that asks for the end; whether it leaves all the time that is needed.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => false,
            _ = self.quit.recv() => true,
        }
    }
}
