//! Three builders: an origin that does as it is told, the proxy in between, and a client that
//! sees every byte.

pub mod app;
pub mod client;
pub mod kept;
pub mod http2;
pub mod dns;
pub mod stepping;
pub mod origin;
pub mod process;
pub mod proxy;
pub mod tls;

pub use app::App;
pub use client::{Response, exchange_raw, request};
pub use kept::Kept;
pub use origin::{Gate, Origin, Reply, ok};
pub use process::Process;
pub use proxy::Proxy;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// Steps of 10 ms: long enough for a machine that is busy with other things, and its disk.
const PATIENCE_STEPS: usize = 3000;

/// Waits, in small steps and with a limit, for something that happens behind an answer.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..PATIENCE_STEPS {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}

/// Removes a folder that a server may be writing into meanwhile.
pub fn remove_folder(path: &Path) {
    while path.is_dir() {
        if let Err(error) = fs::remove_dir_all(path) {
            assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty, "{}: {error}", path.display());
        }
    }
}

/// Puts a folder back where a server may have made another one meanwhile.
pub fn restore_folder(from: &Path, to: &Path) {
    put_in_place_of(from, to, ErrorKind::DirectoryNotEmpty);
}

/// Puts a file into the place of a folder that a server may write into, or make again, meanwhile.
pub fn replace_folder_by_a_file(path: &Path) {
    let file = path.with_extension("file");
    fs::write(&file, "not a folder").unwrap();
    put_in_place_of(&file, path, ErrorKind::IsADirectory);
}

/// `made_again` is what is wrong when the folder was removed and is there again.
fn put_in_place_of(from: &Path, folder: &Path, made_again: ErrorKind) {
    loop {
        remove_folder(folder);
        match fs::rename(from, folder) {
            Err(error) if error.kind() == made_again => {}
            other => return other.unwrap(),
        }
    }
}
