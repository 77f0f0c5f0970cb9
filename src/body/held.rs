//! A body that is all here, in a file that has no name: it can be sent as often as needed.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use rustix::fs::{Mode, OFlags, open, unlink};
use rustix::io::{Errno, ReadWriteFlags};

use super::Error;
use crate::sync::{JoinHandle, spawn_blocking};

/// Bytes in a file that only we can find; it goes when the last reader does.
#[derive(Debug)]
pub struct Held {
    file: File,
    bytes: u64,
}

impl Held {
    /// One without any bytes, in `folder`; blocking.
    ///
    /// # Errors
    /// The folder is not there, may not be written to, or has no room.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let private = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let file = match open(folder, flags | OFlags::TMPFILE, private) {
            // A file system that has no files without a name.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let path = folder.join(format!(".larder-{:032x}", fastrand::u128(..)));
                let file = open(&path, flags | OFlags::CREATE | OFlags::EXCL, private)?;
                unlink(&path)?;
                file
            }
            other => other?,
        };
        Ok(Self { file: File::from(file), bytes: 0 })
    }

    /// Adds bytes; blocking.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// From the page cache alone; nothing where that would have to wait for the disk.
    fn read_now(&self, at: u64, length: usize) -> Option<Bytes> {
        let mut bytes = vec![0; length];
        let slices = &mut [IoSliceMut::new(&mut bytes)];
        let read = rustix::io::preadv2(&self.file, slices, at, ReadWriteFlags::NOWAIT).ok()?;
        bytes.truncate(read);
        (read > 0).then(|| bytes.into())
    }

    fn read(&self, at: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes.into())
    }
}

/// Reads a body from its begin to its end.
pub(super) struct Reader {
    held: Arc<Held>,
    at: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Reader {
    pub(super) fn new(held: Arc<Held>) -> Self {
        Self { held, at: 0, reading: None }
    }

    /// Another one, from the begin.
    pub(super) fn again(&self) -> Self {
        Self::new(Arc::clone(&self.held))
    }
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let length = (this.held.bytes - this.at).min(READ_BYTES) as usize;
        if length == 0 {
            return Poll::Ready(None);
        }
        let read = match &mut this.reading {
            Some(reading) => {
                let read = ready!(Pin::new(reading).poll(cx));
                this.reading = None;
                read.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            None => match this.held.read_now(this.at, length) {
                Some(bytes) => Ok(bytes),
                None => {
                    let (held, at) = (Arc::clone(&this.held), this.at);
                    this.reading = Some(spawn_blocking(move || held.read(at, length)));
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            },
        };
        Poll::Ready(Some(match read {
            Ok(bytes) => {
                this.at += bytes.len() as u64;
                Ok(Frame::data(bytes))
            }
            Err(error) => Err(Error::Transfer(error.into())),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.held.bytes
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.held.bytes - self.at)
    }
}

const READ_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;

    async fn text(mut body: Body) -> String {
        let mut text = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            text.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn what_is_held_can_be_read_again_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut held = Held::create(folder.path()).unwrap();
        let part = "0123456789abcdef".repeat(5000);
        held.append(part.as_bytes()).unwrap();
        held.append(b"end").unwrap();
        let body = Body::held(held);
        assert!(body.is_here());
        assert_eq!(body.size_hint().exact(), Some(80_003));
        let again = body.again().unwrap();
        assert_eq!(text(body).await, format!("{part}end"));
        assert_eq!(text(again).await, format!("{part}end"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_none_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Held::create(&folder.path().join("nothing")).is_err());
    }
}
