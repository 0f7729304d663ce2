#!/bin/sh
# build.sh: natively what the cross-build shows from outside. The tests of whole programs are for Linux, as most of the
# simulator is.
set -eu
cd "$(dirname "$0")/../.."
programs=$(sh scripts/programs.sh | awk '{ printf "-p %s ", $1 }')
make build PREFIX=/usr/local
if cargo clippy --version > /dev/null 2>&1; then
	cargo clippy --locked -p hv_core --all-targets -- -D warnings
	# shellcheck disable=SC2086 # a list of options
	cargo clippy --locked --lib --bins $programs -- -D warnings
	cargo clippy --locked -p hvsim --lib --bin hvsim -- -D warnings
fi
cargo test --locked -p hv_core
cargo test --locked -p hvsim --lib
for program in $(sh scripts/programs.sh | awk '{ print $2 }'); do
	"target/release/$program" -V
done
