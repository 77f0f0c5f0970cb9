//! What an operator tells the process, by signals or by its listener. (nginx: control)

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Running, service};
use crate::admin::control::Control;

/// Runs until told to end. `TERM` and `INT` finish the answers under way within the configured
/// time, `QUIT` however long they take; a second one ends at once. `HUP` reads the configuration
/// anew, `USR1` opens the access log anew, `USR2` has the program of today take over. The operator's
/// listener asks for the same.
///
/// # Errors
/// Signals cannot be received.
pub async fn wait(running: Running) -> io::Result<()> {
    let mut told = Told {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        quit: signal(SignalKind::quit())?,
        reopen: signal(SignalKind::user_defined1())?,
        reload: signal(SignalKind::hangup())?,
        upgrade: signal(SignalKind::user_defined2())?,
        // Nobody else waits.
        asked: running.server.asked().unwrap_or_else(|| mpsc::channel(1).1),
    };
    let mut upgrades = JoinSet::new();
    service::ready();
    let tending = tokio::spawn(service::tend(Arc::clone(&running.server)));
    let end = loop {
        tokio::select! {
            what = told.next() => match what {
                What::End { patient } => break End::Told { patient },
                What::Reopen => running.reopen_logs(),
                What::Reload => {
                    // What comes of it is logged. It must not keep a stop waiting.
                    let server = Arc::clone(&running.server);
                    tokio::spawn(async move { server.reload().await });
                }
                What::Upgrade => {
                    let server = Arc::clone(&running.server);
                    upgrades.spawn(async move { server.upgrade().await });
                }
            },
            Some(Ok(upgraded)) = upgrades.join_next() => match upgraded {
                Ok(process) => break End::HandedOver { process },
                Err(error) => tracing::error!(error, "upgrade: this process goes on"),
            },
        }
    };
    tending.abort();
    let again = async { while !matches!(told.next().await, What::End { .. }) {} };
    let drained = async {
        match end {
            End::Told { patient } => {
                service::stopping();
                tracing::info!("draining; a second signal ends at once");
                running.drain(patient).await
            }
            End::HandedOver { process } => {
                service::handed_over(process);
                tracing::info!(process, "upgrade: handed over, draining");
                running.part().await
            }
        }
    };
    tokio::select! {
        finished = drained => {
            if !finished {
                tracing::warn!("some answers were not finished in time");
            }
            running.end();
        }
        () = again => {
            tracing::warn!("ended at once");
            running.abort();
        }
    }
    Ok(())
}

/// Why the server ends.
enum End {
    /// `patient` leaves all the time that is needed.
    Told { patient: bool },
    /// Another process serves.
    HandedOver { process: u32 },
}

enum What {
    /// `patient` leaves all the time that is needed.
    End {
        patient: bool,
    },
    Reload,
    Reopen,
    Upgrade,
}

struct Told {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    reopen: Signal,
    reload: Signal,
    upgrade: Signal,
    asked: mpsc::Receiver<Control>,
}

impl Told {
    async fn next(&mut self) -> What {
        tokio::select! {
            _ = self.terminate.recv() => What::End { patient: false },
            _ = self.interrupt.recv() => What::End { patient: false },
            _ = self.quit.recv() => What::End { patient: true },
            _ = self.reload.recv() => What::Reload,
            _ = self.reopen.recv() => What::Reopen,
            _ = self.upgrade.recv() => What::Upgrade,
            Some(asked) = self.asked.recv() => match asked {
                Control::Stop => What::End { patient: false },
                Control::Quit => What::End { patient: true },
                Control::Reopen => What::Reopen,
            },
        }
    }
}
