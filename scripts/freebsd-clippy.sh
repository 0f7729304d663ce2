#!/bin/sh
# freebsd-clippy.sh: lints the code as it is compiled for FreeBSD (amd64). hv_core, where all
# the code that depends on the system is, with its tests; the programs without theirs, which need the simulator on Linux;
# of the simulator what works on FreeBSD.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
packages=$(sh "$root/scripts/programs.sh" | awk '{ printf "-p %s ", $1 }')
sh "$root/scripts/freebsd-cargo.sh" x86_64 clippy --locked -p hv_core --all-targets -- -D warnings
# shellcheck disable=SC2086 # a list of options
sh "$root/scripts/freebsd-cargo.sh" x86_64 clippy --locked --lib --bins $packages -- -D warnings
sh "$root/scripts/freebsd-cargo.sh" x86_64 clippy --locked -p hvsim --lib --bin hvsim -- -D warnings
