//! Packs the binary's relocations. As the plain table that is customary they are 0.7 MB, read whole at every start, that stay in the
//! memory of every process; packed they are a few kB.

use std::env::var_os;
use std::process::Command;

/// The first version of the GNU C library that starts such a binary.
const SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if is_for_this_system() && !has_linker_of_its_own() && glibc().is_some_and(|version| version >= SINCE) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the binary is for a system such as this one, of the kind that this has been tried on.
fn is_for_this_system() -> bool {
    let (target, host) = (var_os("TARGET"), var_os("HOST"));
    target == host && target.is_some_and(|target| target == "x86_64-unknown-linux-gnu")
}

/// Whether whoever builds chose the linker. Not every one knows the option; Rust's own and GNU ld, of which one is used otherwise, do.
fn has_linker_of_its_own() -> bool {
    let flags = var_os("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    var_os("RUSTC_LINKER").is_some() || flags.to_string_lossy().contains("link")
}

/// The version that is installed: what is built here starts with this or a later one.
fn glibc() -> Option<(u32, u32)> {
    let answer = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let answer = String::from_utf8(answer.stdout).ok()?;
    let (major, minor) = answer.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
