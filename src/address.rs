//! Where connections begin and end: IP addresses with ports, and unix sockets.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Where clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// A socket on this machine.
    Unix(SocketPath),
}

/// The path of a unix socket, as short as the kernel wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketPath {
    /// Zeros behind `length`.
    bytes: [u8; Self::BYTES_MAX],
    length: u8,
}

/// Who connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Somebody on this machine, over a unix socket: there is no more to tell.
    Unix,
}

impl Address {
    /// `None` for a unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The port; a unix socket has none.
    pub fn port(&self) -> Option<u16> {
        self.tcp().map(|address| address.port())
    }

    /// Whether the system chooses the port, so that two of these are not one.
    pub fn is_any_port(&self) -> bool {
        self.port() == Some(0)
    }

    /// Without the port (nginx: $server_addr).
    pub fn host(&self) -> impl fmt::Display {
        fmt::from_fn(|f| match self {
            Self::Tcp(address) => write!(f, "{}", address.ip()),
            Self::Unix(_) => fmt::Display::fmt(self, f),
        })
    }
}

impl SocketPath {
    /// What `sockaddr_un` holds, less the byte that ends it.
    pub const BYTES_MAX: usize = 107;

    /// `None` for what is no whole path, or too long for the kernel.
    pub fn new(path: &Path) -> Option<Self> {
        let path = path.as_os_str().as_bytes();
        let mut bytes = [0; Self::BYTES_MAX];
        bytes.get_mut(..path.len())?.copy_from_slice(path);
        let is_path = path.starts_with(b"/") && !path.contains(&0);
        is_path.then_some(Self { bytes, length: u8::try_from(path.len()).ok()? })
    }

    /// As it was.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.bytes[..usize::from(self.length)]))
    }
}

impl Remote {
    /// `None` where there is no such address.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix => None,
        }
    }

    /// The same without the port; IPv4 within IPv6 as what it stands for.
    pub fn ip(&self) -> Option<IpAddr> {
        self.tcp().map(|address| address.ip().to_canonical())
    }

    /// The port; over a unix socket there is none.
    pub fn port(&self) -> Option<u16> {
        self.tcp().map(|address| address.port())
    }

    /// Without the port (nginx: $remote_addr).
    pub fn host(&self) -> impl fmt::Display {
        fmt::from_fn(|f| match self {
            Self::Tcp(address) => write!(f, "{}", address.ip()),
            Self::Unix => f.write_str("unix:"),
        })
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<SocketAddr> for Remote {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.path().display()),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn the_path_of_a_socket_is_whole_and_short() {
        check("/run/a.sock",                    true);
        check(&format!("/{}", "a".repeat(106)), true);
        check(&format!("/{}", "a".repeat(107)), false);
        check("run/a.sock",                     false);
        check("/run/\0",                        false);
        check("",                               false);

        #[track_caller]
        fn check(text: &str, expected: bool) {
            let path = SocketPath::new(Path::new(text));
            assert_eq!(path.is_some(), expected, "{text}");
            assert!(path.is_none_or(|path| path.path() == Path::new(text)));
        }
    }

    #[test]
    fn ends_are_shown_with_and_without_ports() {
        let unix = Address::Unix(SocketPath::new(Path::new("/a.sock")).unwrap());
        assert_eq!(
            (unix.to_string(), unix.host().to_string()),
            ("unix:/a.sock".into(), "unix:/a.sock".into())
        );
        let tcp = "[::1]:80".parse::<SocketAddr>().unwrap();
        assert_eq!(Address::from(tcp).host().to_string(), "::1");
        assert_eq!(Remote::from(tcp).host().to_string(), "::1");
        assert_eq!((Remote::Unix.to_string(), Remote::Unix.port()), ("unix:".into(), None));
    }
}
