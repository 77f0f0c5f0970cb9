//! What lies in a folder, as a page of links or as JSON. (nginx: ngx_http_autoindex_module)

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use serde_json::json;

use super::Files;
use crate::config::{Autoindex, Symlinks};
use crate::semantics::date::{Timestamp, http_date};

/// A page and its media type.
pub struct Page {
    /// Its bytes.
    pub text: Bytes,
    /// `Content-Type`.
    pub content_type: &'static str,
}

/// One thing in a folder.
struct Entry {
    name: String,
    is_folder: bool,
    modified: Timestamp,
    length: u64,
}

/// Lists an open folder; `path` is what clients call it. At most 10,000 entries, folders first,
/// by name.
///
/// # Errors
/// The system failed: answer 500.
pub async fn list(files: &Arc<Files>, folder: File, path: String) -> io::Result<Page> {
    let files = Arc::clone(files);
    let job = tokio::task::spawn_blocking(move || {
        let mut entries = entries(&files, &folder)?;
        entries.sort_by(|one, other| {
            (!one.is_folder, &one.name).cmp(&(!other.is_folder, &other.name))
        });
        Ok(match files.settings.autoindex {
            Autoindex::Json => as_json(&entries),
            Autoindex::Html | Autoindex::Off => as_html(&entries, &path),
        })
    });
    job.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

fn entries(files: &Files, folder: &File) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for found in Dir::read_from(folder)? {
        let found = found?;
        // A name that is no text cannot be asked for.
        let Ok(name) = found.file_name().to_str() else { continue };
        let is_hidden = name.starts_with('.') && !files.settings.dot_files;
        if matches!(name, "." | "..") || is_hidden {
            continue;
        }
        let Some(meta) = meta(files.settings.symlinks, folder, name) else { continue };
        let kind = FileType::from_raw_mode(meta.st_mode);
        if !matches!(kind, FileType::RegularFile | FileType::Directory) {
            continue;
        }
        if entries.len() == LISTED_MAX {
            tracing::warn!(listed = LISTED_MAX, "a folder has more entries than are listed");
            break;
        }
        entries.push(Entry {
            name: name.to_owned(),
            is_folder: kind == FileType::Directory,
            modified: Timestamp::from_secs(u64::try_from(meta.st_mtime).unwrap_or(0)),
            length: u64::try_from(meta.st_size).unwrap_or(0),
        });
    }
    Ok(entries)
}

/// What a name stands for. A link that leaves the folder itself is not listed, though it may be
/// served.
fn meta(symlinks: Symlinks, folder: &File, name: &str) -> Option<Stat> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let how = match symlinks {
        Symlinks::Off => beneath | ResolveFlags::NO_SYMLINKS,
        Symlinks::Inside => beneath,
        Symlinks::On => ResolveFlags::NO_MAGICLINKS,
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    fstat(openat2(folder, name, flags, Mode::empty(), how).ok()?).ok()
}

fn as_json(entries: &[Entry]) -> Page {
    let shown = entries.iter().map(|entry| {
        let mtime = http_date(entry.modified).to_string();
        if entry.is_folder {
            json!({ "name": entry.name, "type": "directory", "mtime": mtime })
        } else {
            json!({ "name": entry.name, "type": "file", "mtime": mtime, "size": entry.length })
        }
    });
    let text = serde_json::Value::Array(shown.collect()).to_string();
    Page { text: text.into(), content_type: "application/json" }
}

fn as_html(entries: &[Entry], path: &str) -> Page {
    let title = escaped(path);
    let mut text = format!(
        "<!DOCTYPE html>\n<html>\n<head><meta charset=\"utf-8\"><title>Index of {title}</title></head>\n\
         <body>\n<h1>Index of {title}</h1>\n<table>\n"
    );
    if path != "/" {
        text.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for entry in entries {
        let slash = if entry.is_folder { "/" } else { "" };
        let (href, name) = (linked(&entry.name), escaped(&entry.name));
        let size = if entry.is_folder { "-".to_owned() } else { entry.length.to_string() };
        let modified = http_date(entry.modified);
        // Writing to memory does not fail.
        let _ = writeln!(
            text,
            "<tr><td><a href=\"./{href}{slash}\">{name}{slash}</a></td><td>{modified}</td><td>{size}</td></tr>"
        );
    }
    text.push_str("</table>\n</body>\n</html>\n");
    Page { text: text.into(), content_type: "text/html; charset=utf-8" }
}

/// A name as text of a page.
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            c if c.is_control() => text.push('\u{fffd}'),
            c => text.push(c),
        }
    }
    text
}

/// A name as part of a link.
fn linked(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// What a page can show, and what is held for one.
const LISTED_MAX: usize = 10_000;
