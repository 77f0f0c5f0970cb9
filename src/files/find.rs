//! Which file answers. (nginx: ngx_http_try_files_module, ngx_http_index_module)

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::beneath::{Access, Beneath, Cold, There};
use super::opened::OpenFile;
use super::{Files, Place};
use crate::semantics::coding::{Accepted, Coding};

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Paths as clients write them, decoded; the first that is there.
    pub paths: Vec<(String, Wanted)>,
    /// Where the folder is, where the request says it.
    pub place: Option<Place>,
    /// Which codings the client takes.
    pub accepted: Accepted,
}

/// What a path must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What the request says: a folder where it ends with a slash.
    Any,
    /// A file.
    File,
    /// A folder. The slash that says so is not part of the path.
    Folder,
}

/// What is there.
pub enum Found {
    /// A file.
    File(FoundFile),
    /// A folder that was asked for without its slash: the path with it.
    WithoutSlash(String),
    /// A folder without index, open, and its path.
    Folder(File, String),
    /// Something that we may not read.
    Refused,
    /// Nothing, or nothing that is served.
    Nothing,
}

/// A file to be sent.
pub struct FoundFile {
    /// Itself, or the compressed one beside it.
    pub file: Arc<OpenFile>,
    /// The name that its type goes by.
    pub name: String,
    /// How it is coded.
    pub coding: Option<Coding>,
    /// Other clients might get it coded otherwise.
    pub varies: bool,
}

type Look<T> = Result<io::Result<T>, Cold>;

impl Files {
    /// Looks for it.
    pub(super) fn look(&self, asked: &Asked, may_wait: bool) -> Look<Found> {
        let access = Access { warm: &self.warm, may_wait };
        let root = match self.root(asked.place.as_ref(), access)? {
            Ok(Some(root)) => root,
            Ok(None) => return Ok(Ok(Found::Nothing)),
            Err(error) => return Ok(Err(error)),
        };
        let named = asked.place.as_ref().filter(|_| self.names_file);
        let named = named.and_then(|place| place.below.as_deref());
        for (path, wanted) in &asked.paths {
            let inside = match named {
                Some(name) => self.checked(name),
                None => self.inside(path),
            };
            let Some(inside) = inside else { continue };
            match self.at(&root, inside, (path, *wanted), asked.accepted)? {
                Ok(Found::Nothing) => {}
                other => return Ok(other),
            }
        }
        Ok(Ok(Found::Nothing))
    }

    /// The folder below which this request's files are; `None` where there is none.
    fn root<'a>(&self, place: Option<&Place>, access: Access<'a>) -> Look<Option<Beneath<'a>>> {
        let folder = place.map_or(&self.root, |place| &place.folder);
        let root = match Beneath::open(folder, self.settings.symlinks, access)? {
            Ok(Some(root)) => root,
            other => return Ok(other),
        };
        let place = place.filter(|_| !self.names_file);
        let Some(below) = place.and_then(|place| place.below.as_deref()) else {
            return Ok(Ok(Some(root)));
        };
        // What comes out empty would be the folder around it, with those of all others.
        let below = below.strip_suffix('/').unwrap_or(below);
        if below.split('/').any(str::is_empty) {
            return Ok(Ok(None));
        }
        match self.checked(below) {
            Some(below) => root.folder(&below),
            None => Ok(Ok(None)),
        }
    }

    /// What is at one path.
    fn at(
        &self,
        root: &Beneath<'_>,
        inside: String,
        (path, wanted): (&str, Wanted),
        accepted: Accepted,
    ) -> Look<Found> {
        let has_slash = path.ends_with('/') && self.only.is_none();
        match wanted {
            Wanted::File if has_slash => return Ok(Ok(Found::Nothing)),
            Wanted::Any | Wanted::Folder if has_slash => {
                return self.folder(root, &inside, path, accepted);
            }
            Wanted::Any | Wanted::File | Wanted::Folder => {}
        }
        Ok(Ok(match root.get(&inside)? {
            Ok(There::File(_)) if wanted == Wanted::Folder => Found::Nothing,
            Ok(There::File(file)) => return self.file(root, file, inside, accepted),
            Ok(There::Folder(_)) if wanted == Wanted::File => Found::Nothing,
            Ok(There::Folder(_)) => Found::WithoutSlash(format!("{path}/")),
            Ok(There::Refused) => Found::Refused,
            Ok(There::Nothing) => Found::Nothing,
            Err(error) => return Ok(Err(error)),
        }))
    }

    /// What a folder shows: its index, if it has one.
    fn folder(
        &self,
        root: &Beneath<'_>,
        inside: &str,
        path: &str,
        accepted: Accepted,
    ) -> Look<Found> {
        let folder = match root.get(inside)? {
            Ok(There::Folder(folder)) => folder,
            Ok(There::Refused) => return Ok(Ok(Found::Refused)),
            Ok(There::File(_) | There::Nothing) => return Ok(Ok(Found::Nothing)),
            Err(error) => return Ok(Err(error)),
        };
        for name in &self.settings.index {
            let index = if inside == "." { name.clone() } else { format!("{inside}/{name}") };
            match root.get(&index)? {
                Ok(There::File(file)) => return self.file(root, file, index, accepted),
                Ok(There::Refused) => return Ok(Ok(Found::Refused)),
                Ok(There::Folder(_) | There::Nothing) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(Found::Folder(folder, path.to_owned())))
    }

    /// The file, or the one beside it that the client likes better. One that is older was made of
    /// another.
    fn file(
        &self,
        root: &Beneath<'_>,
        file: OpenFile,
        name: String,
        accepted: Accepted,
    ) -> Look<Found> {
        let mut beside = Vec::new();
        for coding in &self.settings.precompressed {
            match root.get(&format!("{name}{}", coding.suffix()))? {
                Ok(There::File(coded)) if coded.modified() >= file.modified() => {
                    beside.push((*coding, coded));
                }
                // What cannot be read is no reason to refuse what can.
                Ok(_) | Err(_) => {}
            }
        }
        let varies = !beside.is_empty();
        let offered: Vec<_> = beside.iter().map(|(coding, _)| *coding).collect();
        let coding = accepted.choose(&offered);
        let chosen = beside.into_iter().find(|(offered, _)| Some(*offered) == coding);
        let file = chosen.map_or(file, |(_, coded)| coded);
        Ok(Ok(Found::File(FoundFile { file: Arc::new(file), name, coding, varies })))
    }

    /// A path as it is below the root; `None` for what is not served.
    fn inside(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.replaced.as_str())?;
        if let Some(only) = &self.only {
            return rest.is_empty().then(|| only.clone());
        }
        // `/img` of an alias is not the beginning of `/images`.
        let continues = !self.replaced.is_empty() && !self.replaced.ends_with('/');
        if continues && !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        self.checked(rest)
    }

    /// A path below a folder that stays there, and names nothing that is hidden.
    fn checked(&self, path: &str) -> Option<String> {
        let mut inside = String::with_capacity(path.len());
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let hidden = part.starts_with('.') && part != WELL_KNOWN && !self.settings.dot_files;
            if hidden || matches!(part, "." | "..") || part.contains('\0') {
                return None;
            }
            if !inside.is_empty() {
                inside.push('/');
            }
            inside.push_str(part);
        }
        Some(if inside.is_empty() { ".".to_owned() } else { inside })
    }
}

/// RFC 8615: names that begin with a dot and are for all.
const WELL_KNOWN: &str = ".well-known";

#[cfg(test)]
mod tests;
