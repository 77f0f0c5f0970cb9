//! PEM files, and what is wrong with them.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::parse_x509_certificate;

use super::provider;
use super::settings::Files;

/// Which of the files that a configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// A chain of certificates; the number is its place among those of a site.
    Certificate(usize),
    /// The key to one.
    Key(usize),
    /// The authorities of the other side.
    Authorities,
    /// What authorities have withdrawn.
    Revoked,
    /// None: what is wrong is in no file.
    Nothing,
}

/// Why a file is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which one.
    pub which: Which,
    /// What is wrong, with its path.
    pub reason: String,
    /// What to do about it.
    pub help: Option<&'static str>,
}

/// A certificate and its key, and until when it is good.
pub(super) struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) path: PathBuf,
    not_after: SystemTime,
}

impl Identity {
    /// Number `at` of those that are configured.
    pub(super) fn read(files: &Files, at: usize) -> Result<Self, Problem> {
        let (certificate, key) = (Which::Certificate(at), Which::Key(at));
        let chain = certificates(&files.certificate, certificate)?;
        let shown = files.certificate.display();
        let broken = |error: &dyn fmt::Display| {
            Problem::new(certificate, format!("`{shown}` holds no usable certificate: {error}"))
        };
        let (_, first) = parse_x509_certificate(&chain[0]).map_err(|error| broken(&error))?;
        let seconds = u64::try_from(first.validity().not_after.timestamp()).unwrap_or(0);
        let not_after = UNIX_EPOCH + Duration::from_secs(seconds);
        let private = private_key(&files.key, key)?;
        let certified = CertifiedKey::from_der(chain, private, &provider());
        let certified = certified.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let key_shown = files.key.display();
                Problem::new(key, format!("`{key_shown}` is not the key to `{shown}`"))
                    .help("the first certificate of the file must be the server's own")
            }
            Error::InvalidCertificate(_) => broken(&error),
            error => {
                Problem::new(key, format!("`{}` holds no usable key: {error}", files.key.display()))
            }
        })?;
        Ok(Self { certified: Arc::new(certified), path: files.certificate.clone(), not_after })
    }

    /// What an operator should know of its end: nothing while that is far.
    pub(super) fn warning(&self, now: SystemTime) -> Option<String> {
        let shown = self.path.display();
        let Ok(left) = self.not_after.duration_since(now) else {
            return Some(format!("the certificate `{shown}` has expired"));
        };
        let days = left.as_secs() / DAY_S;
        (left <= WARN_BEFORE).then(|| match days {
            0 => format!("the certificate `{shown}` expires within a day"),
            1 => format!("the certificate `{shown}` expires in 1 day"),
            _ => format!("the certificate `{shown}` expires in {days} days"),
        })
    }
}

/// All certificates of a file; at least one.
pub(super) fn certificates(
    path: &Path,
    which: Which,
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let bytes = read(path, which)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| illegible(path, which, &error))?;
    if all.is_empty() {
        let reason = format!("`{}` holds no certificate", path.display());
        return Err(Problem::new(which, reason).help(PEM_HELP));
    }
    Ok(all)
}

/// All revocation lists of a file; at least one.
pub(super) fn revoked(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Problem> {
    let which = Which::Revoked;
    let bytes = read(path, which)?;
    let all: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| illegible(path, which, &error))?;
    if all.is_empty() {
        return Err(Problem::new(which, format!("`{}` holds no revocation list", path.display())));
    }
    Ok(all)
}

fn private_key(path: &Path, which: Which) -> Result<PrivateKeyDer<'static>, Problem> {
    let bytes = read(path, which)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let problem = Problem::new(which, format!("`{}` holds no key", path.display()));
            if memchr::memmem::find(&bytes, b"ENCRYPTED PRIVATE KEY").is_some() {
                problem.help("there is nobody to ask for a password: `openssl pkey` takes it off")
            } else {
                problem.help("a PEM file with `BEGIN PRIVATE KEY` is wanted")
            }
        }
        error => illegible(path, which, &error),
    })
}

fn read(path: &Path, which: Which) -> Result<Vec<u8>, Problem> {
    let cannot = |error: &dyn fmt::Display| {
        Problem::new(which, format!("cannot read `{}`: {error}", path.display()))
    };
    // A pipe would be waited for.
    if !fs::metadata(path).map_err(|error| cannot(&error))?.is_file() {
        return Err(cannot(&"not a file"));
    }
    let file = fs::File::open(path).map_err(|error| cannot(&error))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(cannot(&"larger than 4 MiB"));
    }
    Ok(bytes)
}

fn illegible(path: &Path, which: Which, error: &pem::Error) -> Problem {
    Problem::new(which, format!("`{}` is no PEM file: {error}", path.display())).help(PEM_HELP)
}

impl Problem {
    pub(super) fn new(which: Which, reason: String) -> Self {
        Self { which, reason, help: None }
    }

    pub(super) fn help(self, help: &'static str) -> Self {
        Self { help: Some(help), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Problem {}

const PEM_HELP: &str = "a PEM file with `BEGIN CERTIFICATE` is wanted";
/// A bundle of all authorities of the world has 200 KB.
const FILE_BYTES_MAX: u64 = 4 << 20;
const DAY_S: u64 = 86_400;
/// Whoever renews by a machine does so 30 days ahead: at 14 something is wrong.
const WARN_BEFORE: Duration = Duration::from_secs(14 * DAY_S);
