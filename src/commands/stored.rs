//! The zones that a command looks at itself, without asking a server.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Failure, check, serve};
use crate::cli::stored::Stored;
use crate::config::Config;
use crate::config::simple::simple;
use crate::store::disk::audit;

/// What the file says, or what `serve --to` would do with the folder, in which the entries may lie
/// at other levels.
///
/// # Errors
/// The file is no configuration, or there is no folder.
pub(super) fn config(stored: &Stored) -> Result<Config, Failure> {
    if let Some(file) = stored.config() {
        return check::load_only(&file);
    }
    let folder = stored.cache_dir.clone().or_else(serve::user_cache_dir);
    let folder = folder
        .ok_or_else(|| Failure::usage("say which folder: `--cache-dir DIR` or `-c larder.toml`"))?;
    let levels = audit::levels_of(&folder);
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config =
        simple("http://127.0.0.1", nowhere, None, Some(folder)).map_err(Failure::new)?;
    if let (Some(levels), Some(zone)) = (levels, config.zones.first_mut()) {
        zone.levels = levels;
    }
    Ok(config)
}
