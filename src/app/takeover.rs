//! The new process of an upgrade: takes the sockets of the old one, then its folders. See
//! `channel`.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use super::channel::{Channel, Message};
use super::inherited::Inherited;
use super::server::Server;
use crate::cache::Zone;

/// The other end of what started us to take over from it.
pub struct Takeover(Channel);

impl Takeover {
    /// Hears what the old process hands over; blocking. `None` if nobody started us for that.
    ///
    /// # Errors
    /// It went away, or is none that is understood: do not start.
    pub fn begin() -> Result<Option<(Self, Inherited)>, StartError> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let begin = || {
            let channel = Channel::of(io::stdin().as_fd().try_clone_to_owned()?);
            channel.wait_at_most(Some(ANSWER_MAX))?;
            let mut sockets = Vec::new();
            loop {
                match channel.listen()? {
                    Some(Message::Sockets(some)) => sockets.extend(some),
                    Some(Message::Start) => return Ok((Self(channel), Inherited::of(sockets))),
                    _ => return Err(gone()),
                }
            }
        };
        begin().map(Some).map_err(refused)
    }

    /// Waits until the folders of the zones are free.
    pub(super) fn folders(&self) -> Result<(), StartError> {
        let asked = self.0.say(&Message::Folders).and_then(|()| self.0.listen());
        match asked {
            Ok(Some(Message::Folders)) => Ok(()),
            Ok(_) => Err(refused(gone())),
            Err(error) => Err(refused(error)),
        }
    }

    /// Purges what the old one was asked to while nobody had the folders. Before anybody is served.
    pub(super) fn catch_up(&self, zones: &[Arc<Zone>]) -> Result<(), StartError> {
        self.0.wait_at_most(Some(CATCH_UP)).map_err(refused)?;
        let runtime = runtime().map_err(refused)?;
        while let Ok(Some(message)) = self.0.listen() {
            runtime.block_on(purge(zones, message));
        }
        self.0.wait_at_most(None).map_err(refused)
    }

    /// Says that we serve; then the old one leaves. Purges what it is asked to until it has gone.
    pub(super) fn ready(self, server: &Arc<Server>) -> Result<(), StartError> {
        self.0.say(&Message::Ready).map_err(refused)?;
        let server = Arc::downgrade(server);
        let run = move || {
            let Ok(runtime) = runtime() else { return };
            while let Ok(Some(message)) = self.0.listen() {
                let Some(server) = server.upgrade() else { return };
                runtime.block_on(purge(&server.generation().proxy().zones, message));
            }
            tracing::info!("the process before this one has ended");
        };
        super::spawn("larder-takeover".to_owned(), run).map(drop)
    }
}

async fn purge(zones: &[Arc<Zone>], message: Message) {
    let Message::Purge { zone: name, scope, soft } = message else { return };
    // A zone of that name that rests elsewhere has nothing to purge, and it does no harm.
    if let Some(zone) = zones.iter().find(|zone| zone.name == name) {
        zone.invalidate(&[scope], soft).await;
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn gone() -> io::Error {
    io::Error::other("it has gone")
}

fn refused(error: io::Error) -> StartError {
    StartError(format!("cannot take over from the running server: {error}"))
}

/// Set for a process that is to take over; its standard input is the channel.
pub(super) const VARIABLE: &str = "LARDER_TAKES_OVER";
/// Zones that are large take some seconds to write down what they have.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// What was said before is there already.
const CATCH_UP: Duration = Duration::from_millis(1);
