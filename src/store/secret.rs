//! The secret of a zone: made once, kept in its folder, so that keys outlive a restart.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::semantics::secret::Secret;

/// The secret that is kept in a folder which is ours alone, made and kept if there is none yet.
///
/// # Errors
/// It can be neither read nor kept: go on with another one, and without what is stored under keys
/// made with this one.
pub(super) fn kept_in(folder: &Path) -> io::Result<Secret> {
    let path = folder.join(NAME);
    match fs::read(&path) {
        Ok(bytes) => {
            let bytes = bytes.try_into().map_err(|_| io::Error::other("not 32 bytes"))?;
            return Ok(Secret::new(bytes));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let secret = of_this_process();
    keep_in(folder, &secret)?;
    Ok(secret)
}

/// Keeps a secret in a folder which is ours alone.
///
/// # Errors
/// It cannot be kept; another one that is there stays.
pub(super) fn keep_in(folder: &Path, secret: &Secret) -> io::Result<()> {
    // Written beside its place: a server that stops here leaves no half of a secret.
    let temp = folder.join(TEMP_NAME);
    let _ = fs::remove_file(&temp);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp)?;
    file.write_all(secret.bytes())?;
    file.sync_all()?;
    fs::rename(&temp, folder.join(NAME))
}

/// A secret that lasts as long as this process.
pub(super) fn of_this_process() -> Secret {
    Secret::new(random_bytes())
}

pub(crate) fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    if read.is_err() {
        // Where there is no such file: what the standard library drew for its hash maps.
        for (number, eight) in bytes.chunks_mut(8).enumerate() {
            eight.copy_from_slice(&RandomState::new().hash_one(number).to_le_bytes());
        }
    }
    bytes
}

pub(super) const NAME: &str = ".larder.secret";
pub(super) const TEMP_NAME: &str = ".larder.secret.new";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_made_once_and_read_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let hash = |secret: Secret| secret.hash("test", std::iter::empty());
        fs::write(folder.path().join(TEMP_NAME), "half").unwrap();
        let first = hash(kept_in(folder.path()).unwrap());
        assert_eq!(hash(kept_in(folder.path()).unwrap()), first);
        let mode = fs::metadata(folder.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_ne!(hash(of_this_process()), first);
    }

    #[test]
    fn a_damaged_secret_is_left_for_its_owner_to_look_at() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), "short").unwrap();
        assert!(kept_in(folder.path()).is_err());
        assert_eq!(fs::read(folder.path().join(NAME)).unwrap(), b"short");
        assert!(kept_in(Path::new("/nowhere")).is_err());
    }
}
