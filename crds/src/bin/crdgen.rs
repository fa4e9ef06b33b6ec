//! Writes the definitions of the custom resources to `crds/`.
//!
//! `cargo run -p hookswitch-crds --bin crdgen [DIRECTORY]`; the directory is the crate's own where
//! none is given.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<(), String> {
    let directory = std::env::args_os()
        .nth(1)
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    for file in hookswitch_crds::crd::files().map_err(|error| error.to_string())? {
        let path = directory.join(file.name);
        std::fs::write(&path, file.text)
            .map_err(|error| format!("can't write {}: {error}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
