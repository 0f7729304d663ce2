#!/bin/sh
# need.sh TOOL...: says how to get each tool that is missing, and fails if there is one.
# A tool whose name ends in "cargo" must also be as new as rust-version in Cargo.toml asks.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
failed=0

# Turns "1.91" or "cargo 1.95.0 (...)" into a number that can be compared: 1091, 1095.
number() {
	sed -n 's/^[^0-9]*\([0-9][0-9]*\)\.\([0-9][0-9]*\).*/\1 \2/p' | while read -r major minor; do
		echo $((major * 1000 + minor))
	done
}

advice() {
	case ${1##*/} in
	*cargo) echo "rustup (https://rustup.rs) installs it; FreeBSD: pkg install rust" ;;
	cargo-clippy) echo "rustup component add clippy" ;;
	rustfmt | cargo-fmt) echo "rustup component add rustfmt" ;;
	cc) echo "rustc links with it; Debian and Ubuntu: apt-get install gcc libc6-dev" ;;
	readelf) echo "Debian and Ubuntu: apt-get install binutils; FreeBSD has it in base" ;;
	cargo-deny) echo "cargo install --locked cargo-deny" ;;
	mandoc) echo "Debian and Ubuntu: apt-get install mandoc; FreeBSD has it in base" ;;
	shellcheck) echo "Debian and Ubuntu: apt-get install shellcheck; FreeBSD: pkg install hs-ShellCheck" ;;
	setpriv | unshare) echo "Debian and Ubuntu: apt-get install util-linux" ;;
	*) echo "install it with the system's packages" ;;
	esac
}

for tool; do
	if ! command -v "$tool" >/dev/null 2>&1; then
		echo "$tool is missing: $(advice "$tool")" >&2
		failed=1
		continue
	fi
	case $tool in
	*cargo)
		needs=$(sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' "$root/Cargo.toml")
		# The version is asked for in /, where no toolchain file can choose another one.
		has=$(cd / && "$tool" --version)
		if [ "$(echo "$has" | number)" -lt "$(echo "$needs" | number)" ]; then
			echo "$tool is too old ($has), Rust $needs or newer is needed: $(advice "$tool"), \"rustup update\" renews it" >&2
			failed=1
		fi
		;;
	esac
done
exit $failed
