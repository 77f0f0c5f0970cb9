//! Arguments in, exit code out; everything else is in the library.

use std::process::ExitCode;

use larder::{cli, commands};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(cli::parse())
}
