//! A request on its way to a peer, which may have to be sent more than once.

use std::sync::Arc;

use http::header::UPGRADE;
use http::request::Parts;
use http::{Request, Version};

use super::error::Error;
use super::group::Group;
use super::retry::{self, Facts, Stops};
use super::wire::{Upload, Wire};
use crate::body::Body;
use crate::config::HttpVersion;

/// A request that may have to be sent more than once.
pub(super) struct Outgoing {
    pub(super) parts: Parts,
    body: Content,
    /// Bytes of it may have reached a peer.
    pub(super) written: bool,
    /// It was held once although it had been written: not again, it may be what brings peers down.
    held_written: bool,
}

enum Content {
    /// Can be sent as often as needed.
    Whole(Body),
    /// Can be sent once; `None` while it is under way and after.
    Stream(Option<Body>),
}

impl Outgoing {
    pub(super) fn new(request: Request<Body>) -> Self {
        let (mut parts, body) = request.into_parts();
        // What the client speaks is no concern of the peer.
        parts.version = Version::HTTP_11;
        let is_here = body.is_here();
        let body = if is_here { Content::Whole(body) } else { Content::Stream(Some(body)) };
        Self { parts, body, written: false, held_written: false }
    }

    /// Whether a request that failed like this may wait for a peer to come back.
    pub(super) fn may_be_held(&mut self, error: &Error) -> bool {
        let stops = retry::stops(error, self.facts());
        let may = match stops {
            Stops::NotReached => true,
            Stops::BrokenOff => !self.held_written,
            Stops::Otherwise => false,
        };
        self.held_written |= stops == Stops::BrokenOff;
        may
    }

    /// What it should go in: protocols are switched from HTTP/1.1 only.
    pub(super) fn version(&self, group: &Group) -> HttpVersion {
        match group.http_version {
            HttpVersion::Http2 if !self.is_upgrade() => HttpVersion::Http2,
            _ => HttpVersion::Http1,
        }
    }

    pub(super) fn is_upgrade(&self) -> bool {
        self.parts.headers.contains_key(UPGRADE)
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        let replayable = !matches!(self.body, Content::Stream(None));
        Facts { method: &self.parts.method, replayable, written: self.written }
    }

    /// Its body, for one attempt.
    pub(super) fn take_body(&mut self) -> Body {
        match &mut self.body {
            Content::Whole(body) => body.again().unwrap_or_default(),
            Content::Stream(body) => body.take().unwrap_or_default(),
        }
    }

    /// A copy of it, for one attempt.
    pub(super) fn take(&mut self, wire: &Arc<Wire>) -> Request<Body> {
        let body = Upload::watch(self.take_body(), wire);
        Request::from_parts(self.parts.clone(), body)
    }

    /// Takes a body back of which nothing was sent.
    pub(super) fn give_back(&mut self, unsent: Body) {
        if let Content::Stream(body) = &mut self.body {
            *body = Some(unsent);
        }
    }
}
