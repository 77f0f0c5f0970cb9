//! What is at a path of the system, for rules that ask. (nginx: if -f, -d, -e)

use std::fs;

use crate::config::answers::There;
use crate::sync::spawn_blocking;

/// Whether something of this kind is at a path, which may be a link. A path that a request could
/// lead elsewhere by `..` is none.
pub async fn is_there(path: String, kind: There) -> bool {
    if !path.starts_with('/') || path.contains('\0') || path.split('/').any(|name| name == "..") {
        return false;
    }
    let job = spawn_blocking(move || {
        fs::metadata(path).is_ok_and(|there| match kind {
            There::File => there.is_file(),
            There::Folder => there.is_dir(),
            There::Either => true,
        })
    });
    job.await.unwrap_or(false)
}
