//! Every file below nginx's folder, which is only read. Links are not followed.

use std::fs::{self, DirEntry, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::file::named;

/// Something in the folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) path: PathBuf,
    pub(super) what: What,
}

/// What it is, as far as its name says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A file whose name says this, of so many bytes.
    File([u8; 16], u64),
    /// One that nginx would not look for there.
    Misplaced,
    /// One that nginx was writing.
    Temporary,
    /// Nothing of nginx's cache.
    Foreign,
}

/// Calls `with` for everything in a folder of nginx's cache.
///
/// # Errors
/// A folder cannot be read, or that of `with`.
pub(super) fn walk(folder: &Path, with: &mut dyn FnMut(Seen) -> io::Result<()>) -> io::Result<()> {
    below(folder, &mut Vec::new(), with)
}

/// Opens a plain file to be read; `None` where it is gone or is none.
///
/// # Errors
/// It cannot be read.
pub(super) fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path, &error)),
    }
}

/// The same below a folder that is so many levels down, by their names.
fn below(
    folder: &Path,
    levels: &mut Vec<Vec<u8>>,
    with: &mut dyn FnMut(Seen) -> io::Result<()>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| at(folder, &error))? {
        let entry = entry.map_err(|error| at(folder, &error))?;
        let name = entry.file_name().as_bytes().to_vec();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && levels.len() < LEVELS_MAX && is_level(&name) {
            levels.push(name);
            below(&entry.path(), levels, with)?;
            levels.pop();
            continue;
        }
        let Some(what) = what(&entry, &name, levels) else { continue };
        with(Seen { path: entry.path(), what })?;
    }
    Ok(())
}

/// `None` where it is gone meanwhile.
fn what(entry: &DirEntry, name: &[u8], levels: &[Vec<u8>]) -> Option<What> {
    let meta = entry.metadata().ok()?;
    if !meta.is_file() {
        return Some(What::Foreign);
    }
    if let Some(hash) = named(name) {
        let is_there = lies_at(name, levels);
        return Some(if is_there { What::File(hash, meta.len()) } else { What::Misplaced });
    }
    let temporary = name.split_at_checked(32).is_some_and(|(hash, rest)| {
        let number = rest.strip_prefix(b".").unwrap_or_default();
        named(hash).is_some() && !number.is_empty() && number.iter().all(u8::is_ascii_digit)
    });
    Some(if temporary { What::Temporary } else { What::Foreign })
}

/// Whether the levels take their names from the end of the file's (nginx: levels).
fn lies_at(name: &[u8], levels: &[Vec<u8>]) -> bool {
    let mut rest = name;
    levels.iter().all(|level| {
        let fits = rest.strip_suffix(&level[..]);
        rest = fits.unwrap_or_default();
        fits.is_some()
    })
}

/// One or two digits.
fn is_level(name: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    matches!(name.len(), 1 | 2) && name.iter().all(is_digit)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// nginx: NGX_MAX_PATH_LEVEL.
const LEVELS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_walked_by_nginxs_levels_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let name = "b7f54b2df7773722d382f4809d65029c";
        let write = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "1234").unwrap();
        };
        write(&format!("c/29/{name}"));
        write(&format!("c/28/{name}"));
        write(&format!("{name}.0000000017"));
        write(&format!("c/29/{}", name.to_uppercase()));
        write(&format!("proxy_temp/{name}"));
        std::os::unix::fs::symlink(folder.path().join("c"), folder.path().join("d")).unwrap();
        let link = folder.path().join("c/29/b7f54b2df7773722d382f4809d65aa9c");
        std::os::unix::fs::symlink(folder.path().join(format!("c/29/{name}")), &link).unwrap();
        assert!(open(&link).is_err());

        let mut seen = Vec::new();
        walk(folder.path(), &mut |one| {
            let path = one.path.strip_prefix(folder.path()).unwrap().display().to_string();
            seen.push(format!("{path} {:?}", one.what).replace(name, "NAME"));
            Ok(())
        })
        .unwrap();
        seen.sort();
        let hash = format!("{:?}", named(name.as_bytes()).unwrap());
        let expected = [
            "NAME.0000000017 Temporary".to_owned(),
            "c/28/NAME Misplaced".to_owned(),
            "c/29/B7F54B2DF7773722D382F4809D65029C Foreign".to_owned(),
            format!("c/29/NAME File({hash}, 4)"),
            "c/29/b7f54b2df7773722d382f4809d65aa9c Foreign".to_owned(),
            "d Foreign".to_owned(),
            "proxy_temp Foreign".to_owned(),
        ];
        assert_eq!(seen, expected);
    }
}
