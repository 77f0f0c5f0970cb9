//! What a process and the one that takes over from it say to each other.
//!
//! ```text
//!   old                                     new
//!    | sockets, as many messages as it takes  |
//!    | start                            ----> | checks its configuration, listens
//!    | <----                         folders  | may I have the zones' folders?
//!    | (writes down what lies there)          |
//!    | folders                          ----> | opens its zones, serves
//!    | <----                           ready  |
//!    | drains, and tells what is purged ----> | until the old one has ended
//! ```
//!
//! Both are the same program, perhaps of another version, so a message that is not understood ends
//! the upgrade. A socket needs no name: it knows its address.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::cache::log::Scope;
use crate::semantics::key::KeyHash;

/// One end.
pub(super) struct Channel(OwnedFd);

/// What is said.
#[derive(Debug)]
pub(super) enum Message {
    /// Listening sockets; as many messages as are needed.
    Sockets(Vec<OwnedFd>),
    /// Those were all.
    Start,
    /// From the new one: asks for the folders of the zones. From the old one: they are free.
    Folders,
    /// The new one serves.
    Ready,
    /// A purge that the old one was asked for, of a zone that the new one has.
    Purge {
        /// Its name.
        zone: String,
        /// What of it.
        scope: Scope,
        /// It stays, but stale.
        soft: bool,
    },
}

impl Channel {
    /// Both ends: ours, and one for another process.
    ///
    /// # Errors
    /// Out of files.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(ours), theirs))
    }

    /// The end that we were given.
    pub(super) fn of(end: OwnedFd) -> Self {
        Self(end)
    }

    /// Waits for messages no longer than this from now on; for ever, where there is none.
    pub(super) fn wait_at_most(&self, limit: Option<Duration>) -> io::Result<()> {
        Ok(set_socket_timeout(&self.0, Timeout::Recv, limit)?)
    }

    /// Says something that has no sockets. Does not wait.
    ///
    /// # Errors
    /// The other one has gone, or has not listened for long.
    pub(super) fn say(&self, message: &Message) -> io::Result<()> {
        self.send(&message.text(), &[])
    }

    /// Hands sockets over.
    ///
    /// # Errors
    /// As `say`.
    pub(super) fn hand_over(&self, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        sockets.chunks(SOCKETS_MAX).try_for_each(|some| self.send("sockets", some))
    }

    fn send(&self, text: &str, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.0, &[IoSlice::new(text.as_bytes())], &mut control, flags)?;
        Ok(())
    }

    /// What the other one says next; blocking. `None` when it has gone.
    ///
    /// # Errors
    /// It said nothing for too long, or something that is not understood.
    pub(super) fn listen(&self) -> io::Result<Option<Message>> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; MESSAGE_BYTES_MAX];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            let slices = &mut [IoSliceMut::new(&mut text)];
            match recvmsg(&self.0, slices, &mut control, flags) {
                Err(Errno::INTR) => {}
                // Gone, and something was not heard.
                Err(Errno::CONNRESET) => return Ok(None),
                received => break received?,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        let mut sockets = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                sockets.extend(some);
            }
        }
        let text = text.get(..received.bytes).unwrap_or_default();
        let message = std::str::from_utf8(text).ok().and_then(|text| Message::read(text, sockets));
        message
            .map(Some)
            .ok_or_else(|| io::Error::other("the other process says what is not known"))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Message {
    fn text(&self) -> String {
        match self {
            Self::Sockets(_) => "sockets".to_owned(),
            Self::Start => "start".to_owned(),
            Self::Folders => "folders".to_owned(),
            Self::Ready => "ready".to_owned(),
            Self::Purge { zone, scope, soft } => {
                let how = if *soft { "soft" } else { "hard" };
                let scope = match scope {
                    Scope::All => "all".to_owned(),
                    Scope::Prefix { bytes, hash } => format!("prefix {bytes} {hash}"),
                    Scope::Tag(hash) => format!("tag {hash}"),
                    Scope::Key(hash) => format!("key {}", hash.0),
                };
                // The name comes last: it may hold anything.
                format!("purge {how} {scope} of {zone}")
            }
        }
    }

    fn read(text: &str, sockets: Vec<OwnedFd>) -> Option<Self> {
        Some(match text {
            "sockets" => Self::Sockets(sockets),
            "start" => Self::Start,
            "folders" => Self::Folders,
            "ready" => Self::Ready,
            _ => {
                let (what, zone) = text.strip_prefix("purge ")?.split_once(" of ")?;
                let (how, scope) = what.split_once(' ')?;
                let words: Vec<_> = scope.split(' ').collect();
                let scope = match words[..] {
                    ["all"] => Scope::All,
                    ["prefix", bytes, hash] => {
                        Scope::Prefix { bytes: bytes.parse().ok()?, hash: hash.parse().ok()? }
                    }
                    ["tag", hash] => Scope::Tag(hash.parse().ok()?),
                    ["key", hash] => Scope::Key(KeyHash(hash.parse().ok()?)),
                    _ => return None,
                };
                Self::Purge { zone: zone.to_owned(), scope, soft: how == "soft" }
            }
        })
    }
}

/// In one message; the kernel takes 253.
const SOCKETS_MAX: usize = 64;
const MESSAGE_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_is_said_is_heard_and_sockets_come_along() {
        let (one, other) = Channel::pair().unwrap();
        let other = Channel::of(other);
        let listeners: Vec<_> =
            (0..100).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let sockets: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
        one.hand_over(&sockets).unwrap();
        one.say(&Message::Start).unwrap();
        let mut addresses = Vec::new();
        while let Some(Message::Sockets(some)) = other.listen().unwrap() {
            addresses
                .extend(some.into_iter().map(|it| TcpListener::from(it).local_addr().unwrap()));
        }
        let expected: Vec<_> = listeners.iter().map(|it| it.local_addr().unwrap()).collect();
        assert_eq!(addresses, expected);
        for scope in [
            Scope::All,
            Scope::Prefix { bytes: 3, hash: u64::MAX },
            Scope::Tag(7),
            Scope::Key(KeyHash(u128::MAX)),
        ] {
            let purge = Message::Purge { zone: "of a".to_owned(), scope, soft: true };
            other.say(&purge).unwrap();
            let heard = one.listen().unwrap().unwrap();
            assert_eq!(format!("{heard:?}"), format!("{purge:?}"));
        }
        drop(other);
        assert!(one.listen().unwrap().is_none());
    }

    #[test]
    fn silence_and_nonsense_are_errors() {
        let (one, other) = Channel::pair().unwrap();
        let other = Channel::of(other);
        one.wait_at_most(Some(Duration::from_millis(10))).unwrap();
        assert_eq!(one.listen().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        for text in
            ["x", "purge", "purge hard of a", "purge hard key -1 of a", "purge soft tag of a"]
        {
            other.send(text, &[]).unwrap();
            assert!(one.listen().is_err(), "{text}");
        }
    }
}
