#!/bin/sh
# Which lines of crates/core its own tests reach: a table for each file, and the total. The tests of whole programs reach
# more; they run the programs as processes and are not counted here.
#
# Needs llvm-profdata and llvm-cov of the compiler's LLVM or a later one: rustup's component llvm-tools, or a
# distribution's package (Debian: llvm-22, for Rust 1.95). LLVM_VERSION names the suffix of its programs.
set -eu
cd "$(dirname "$0")/.."

: "${CARGO:=cargo}"
version=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
suffix=-${LLVM_VERSION:-$version}
host=$(rustc -vV | sed -n 's/^host: //p')
bundled=$(rustc --print sysroot)/lib/rustlib/$host/bin
find_tool() {
	for candidate in "$bundled/$1" "$1$suffix"; do
		if command -v "$candidate" >/dev/null; then
			echo "$candidate"
			return
		fi
	done
	echo "coverage: $1 is missing: rustup component add llvm-tools, or install the package llvm$suffix" >&2
	exit 69
}
profdata=$(find_tool llvm-profdata)
cov=$(find_tool llvm-cov)

out=$PWD/target/coverage
rm -rf "$out/profiles"
mkdir -p "$out/profiles"
export CARGO_TARGET_DIR="$out" CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
export RUSTFLAGS='-C instrument-coverage' LLVM_PROFILE_FILE="$out/profiles/%p-%m.profraw"
"$CARGO" test --locked --package hv_core --lib >"$out/tests.log" 2>&1 || {
	tail -n 40 "$out/tests.log" >&2
	exit 1
}
binary=$(sed -n 's/^ *Running unittests .*(\(.*\))$/\1/p' "$out/tests.log" | tail -n 1)
case $binary in
/*) ;;
*) binary=$PWD/$binary ;;
esac
"$profdata" merge --sparse "$out"/profiles/*.profraw --output "$out/core.profdata"
"$cov" report "$binary" --instr-profile="$out/core.profdata" --ignore-filename-regex='(/tests\.rs|/tests/|/registry/src/|/git/checkouts/|/rustc/)' >"$out/core.txt"
awk 'NR == 1 || /^TOTAL/ || /^---/ || $10 + 0 < 80' "$out/core.txt" | cut -c1-200 >"$out/short.txt"
awk '/^TOTAL/ { print "coverage of crates/core by its own tests: " $10 " of " $8 " lines" }' "$out/core.txt"
echo "the whole table: target/coverage/core.txt"
