//! What of bodies is held, and where. (nginx: proxy_request_buffering, proxy_buffering)

use std::path::PathBuf;

use super::{Report, bytes, flag};
use crate::config::Bodies;
use crate::config::file::Settings;
use crate::config::read::At;
use crate::config::words::IgnoredField;

/// As the settings of a route say.
pub(super) fn bodies(settings: &Settings, report: &mut Report) -> Bodies {
    let range = BYTES_MIN..=BYTES_MAX;
    let ignored = settings.cache.as_ref().and_then(|cache| cache.value.ignore_headers.as_ref());
    let mut ignored = ignored.iter().flat_map(|list| list.value.values());
    Bodies {
        request: flag(settings.request_buffering.as_ref(), true),
        request_bytes_max: bytes(settings.request_buffer.as_ref(), "16k", range.clone(), report),
        response: flag(settings.buffering.as_ref(), true),
        response_bytes_max: bytes(settings.buffers.as_ref(), "64k", range, report),
        obeys_response: !ignored.any(|field| *field == IgnoredField::XAccelBuffering),
    }
}

/// Where request bodies are put that memory does not hold.
pub(super) fn temp_path(written: Option<&At<String>>, report: &mut Report) -> PathBuf {
    match written {
        Some(path) => report.path(path.span, &path.value),
        None => PathBuf::from(TEMP_PATH),
    }
}

/// Survives no restart and needs to: on disk, unlike `/tmp` of many systems.
const TEMP_PATH: &str = "/var/tmp";
const BYTES_MIN: usize = 1;
const BYTES_MAX: usize = 1 << 30;
