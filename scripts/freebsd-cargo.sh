#!/bin/sh
# freebsd-cargo.sh ARCHITECTURE COMMAND [ARGUMENT...]: runs cargo for FreeBSD on x86_64 or aarch64,
# with the standard library built along. Results are in target/freebsd/ARCHITECTURE-unknown-freebsd:
# two compilers must not share a target directory, and native builds use target itself.
#   FREEBSD_STD            the crates of the standard library that are built along (std,panic_abort)
#   FREEBSD_STD_FEATURES   their features (optimize_for_size; not among them is what would print the backtrace of a
#                          program that has no symbols)
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
[ $# -ge 2 ] || {
	sed -n 2,7p "$0" >&2
	exit 64
}
architecture=$1 command=$2
shift 2
sdk=$(sh "$root/scripts/freebsd-sdk.sh")
triple=$architecture-unknown-freebsd
rustc=${FREEBSD_RUSTC:-/usr/bin/rustc}
cargo=${FREEBSD_CARGO:-/usr/bin/cargo}

features=${FREEBSD_STD_FEATURES:-optimize_for_size}

# What the native build is told by these is not meant for this one.
unset RUSTFLAGS RUSTDOCFLAGS RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER RUSTUP_TOOLCHAIN CARGO_BUILD_TARGET
# build-std is an unstable option of cargo; this makes a stable toolchain accept it.
export RUSTC_BOOTSTRAP=1
export RUSTC="$rustc" CARGO="$cargo" CARGO_TARGET_DIR="$root/target/freebsd"
linker=CARGO_TARGET_$(echo "$triple" | tr 'a-z-' 'A-Z_')_LINKER
export "$linker=$sdk/cc-$architecture"
# Separated by the unit separator, so that a blank in a path does no harm.
CARGO_ENCODED_RUSTFLAGS=$(printf -- '-L\037%s/stubs-%s' "$sdk" "$architecture")
export CARGO_ENCODED_RUSTFLAGS

cd "$root"
case $command in
# Called by its path: cargo would find the one in ~/.cargo/bin first, which belongs to another compiler.
clippy) set -- "$(dirname "$cargo")/cargo-clippy" clippy -Zbuild-std="${FREEBSD_STD:-std,panic_abort}" -Zbuild-std-features="$features" --target "$triple" "$@" ;;
*) set -- "$cargo" "$command" -Zbuild-std="${FREEBSD_STD:-std,panic_abort}" -Zbuild-std-features="$features" --target "$triple" "$@" ;;
esac
exec "$@"
