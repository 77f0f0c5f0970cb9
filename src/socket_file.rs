//! Unix sockets that are listened on, and the files that they have.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, SockAddr, Socket, Type};

/// A socket file that is removed with its listener, unless another one has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    ours: Owned,
}

/// Whether a socket file is ours to remove.
#[derive(Clone, Debug)]
pub struct Owned(Arc<AtomicBool>);

impl SocketFile {
    /// The file of a socket that listens.
    ///
    /// # Errors
    /// It is not there.
    pub fn of(path: &Path, is_ours: bool) -> io::Result<Self> {
        let ours = Owned(Arc::new(AtomicBool::new(is_ours)));
        Ok(Self { path: path.to_owned(), identity: identity(path)?, ours })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says whether it is removed.
    pub fn owned(&self) -> &Owned {
        &self.ours
    }
}

impl Owned {
    /// From now on.
    pub fn set(&self, is_ours: bool) {
        self.0.store(is_ours, Ordering::SeqCst);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_same = || identity(&self.path).is_ok_and(|identity| identity == self.identity);
        if self.ours.0.load(Ordering::SeqCst) && is_same() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, for those whom `mode` lets in. A socket file that nobody listens on any more is
/// replaced.
///
/// # Errors
/// Somebody listens there, or it is another file, or none can be made.
pub fn bind(path: &Path, mode: u32, backlog: i32) -> io::Result<(Socket, SocketFile)> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path, true)?;
    // Before it listens nobody can connect, so there is no moment in which others could.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok((socket, file))
}

/// Removes a socket that nobody listens on. Anything else is left where it is.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists and is no socket"));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Who has a queue that is full is there, and must not be waited for.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_a_socket_that_nobody_answers_on_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as a server leaves it that was killed");
        let (socket, file) = bind(&path, 0o600, 1).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(bind(&path, 0o600, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // Nobody accepts: the queue is full soon, and still somebody is there.
        let _waiting: Vec<_> = (0..4)
            .map(|_| {
                let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
                client.set_nonblocking(true).unwrap();
                let _ = client.connect(&SockAddr::unix(&path).unwrap());
                client
            })
            .collect();
        assert_eq!(bind(&path, 0o600, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop((socket, file));
        assert!(!path.exists(), "it goes with its listener");
        fs::write(&path, "text").unwrap();
        assert_eq!(bind(&path, 0o600, 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    }

    #[test]
    fn a_file_that_is_not_ours_or_another_one_by_now_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let (socket, file) = bind(&path, 0o666, 1).unwrap();
        file.owned().set(false);
        drop((socket, file));
        assert!(path.exists());
        let (_socket, file) = bind(&path, 0o666, 1).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        drop(file);
        assert!(path.exists());
    }
}
