//! What an operator tells the process, by signals or by its listener. (nginx: control)

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::Running;
use crate::admin::control::Control;

/// Runs until told to end. `TERM` and `INT` finish the answers under way within the configured
/// time, `QUIT` however long they take; a second one ends at once. `HUP` reads the configuration
/// anew, `USR1` opens the access log anew. The operator's listener asks for the same.
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
        // Nobody else waits.
        asked: running.server.asked().unwrap_or_else(|| mpsc::channel(1).1),
    };
    let patient = loop {
        match told.next().await {
            What::End { patient } => break patient,
            What::Reopen => running.reopen_logs(),
            What::Reload => {
                // What comes of it is logged. It must not keep a stop waiting.
                let server = Arc::clone(&running.server);
                tokio::spawn(async move { server.reload().await });
            }
        }
    };
    tracing::info!("draining; a second signal ends at once");
    let again = async { while !matches!(told.next().await, What::End { .. }) {} };
    tokio::select! {
        finished = running.drain(patient) => {
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

enum What {
    /// `patient` leaves all the time that is needed.
    End {
        patient: bool,
    },
    Reload,
    Reopen,
}

struct Told {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    reopen: Signal,
    reload: Signal,
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
            Some(asked) = self.asked.recv() => match asked {
                Control::Stop => What::End { patient: false },
                Control::Quit => What::End { patient: true },
                Control::Reopen => What::Reopen,
            },
        }
    }
}
