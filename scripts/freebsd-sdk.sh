#!/bin/sh
# freebsd-sdk.sh: makes sure that everything the FreeBSD cross-build needs is here and prints
# the folder that holds it, target/freebsd-sdk. Installs what is missing as root on Debian,
# otherwise says what to install. docs/cross-build.md explains the parts.
#   FREEBSD_RUSTC, FREEBSD_CARGO   a rustc that has its library source, and the cargo beside it
#   ZIG                            a zig of the version below
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sdk=$root/target/freebsd-sdk
rustc=${FREEBSD_RUSTC:-/usr/bin/rustc}
cargo=${FREEBSD_CARGO:-/usr/bin/cargo}
zig_version=0.15.2
# The oldest release that zig can link programs for.
release=14.0

say() { echo "freebsd-sdk: $*" >&2; }

may_install() { [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ]; }

install_packages() {
	say "installing $*"
	{ DEBIAN_FRONTEND=noninteractive apt-get update -q &&
		DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"; } >&2
}

has_rust() {
	sh "$root/scripts/need.sh" "$cargo" 2>/dev/null || return 1
	[ -x "$(dirname "$cargo")/cargo-clippy" ] || return 1
	sysroot=$("$rustc" --print sysroot 2>/dev/null) || return 1
	[ -e "$sysroot/lib/rustlib/src/rust/library/std/Cargo.toml" ]
}

need_rust() {
	packages="rustc-web cargo-web rust-web-src rust-web-clippy"
	! has_rust || return 0
	if may_install && [ -z "${FREEBSD_RUSTC-}${FREEBSD_CARGO-}" ]; then
		# shellcheck disable=SC2086 # a list of names
		install_packages $packages
		! has_rust || return 0
	fi
	say "no Rust toolchain with the source of its standard library at $rustc and $cargo"
	say "Debian 12: apt-get install --no-install-recommends $packages"
	say "elsewhere: rustup component add rust-src, then set FREEBSD_RUSTC=\$(rustup which rustc) and FREEBSD_CARGO=\$(rustup which cargo)"
	exit 1
}

# Prints the path of the zig in the Python that is given, if it is the right version.
zig_of() {
	found=$("$1" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))' 2>/dev/null) || return 1
	[ "$("$found" version 2>/dev/null)" = "$zig_version" ] || return 1
	echo "$found"
}

find_zig() {
	if [ -n "${ZIG-}" ]; then
		[ "$("$ZIG" version)" = "$zig_version" ] && command -v "$ZIG"
		return
	fi
	zig_of "$sdk/venv/bin/python3" || zig_of python3 || zig_of /usr/bin/python3
}

make_venv() {
	rm -rf "$sdk/venv"
	"$1" -m venv "$sdk/venv" >/dev/null 2>&1
}

need_zig() {
	! zig=$(find_zig) || return 0
	if [ -z "${ZIG-}" ]; then
		say "fetching zig $zig_version from PyPI into target/freebsd-sdk/venv"
		if ! make_venv python3 && may_install; then
			install_packages python3 python3-venv
			make_venv /usr/bin/python3 || :
		fi
		[ ! -x "$sdk/venv/bin/pip" ] || "$sdk/venv/bin/pip" install -q "ziglang==$zig_version" >&2 || :
		! zig=$(find_zig) || return 0
	fi
	say "no zig $zig_version: python3 -m pip install ziglang==$zig_version, or set ZIG to its path"
	exit 1
}

# The C compiler and linker for one architecture, and empty stand-ins for the libraries that the
# libc crate names and zig does not ship. The linker drops them again (--as-needed).
make_target() {
	cc=$sdk/cc-$1
	cat > "$cc.new" <<-EOF
		#!/bin/sh
		export ZIG_GLOBAL_CACHE_DIR="$sdk/zig-cache" ZIG_LOCAL_CACHE_DIR="$sdk/zig-cache"
		exec "$zig" cc -target $1-freebsd.$release "\$@"
	EOF
	chmod +x "$cc.new"
	if [ -e "$sdk/stubs-$1/.done" ] && cmp -s "$cc.new" "$cc"; then
		rm "$cc.new"
		return
	fi
	mv "$cc.new" "$cc"
	rm -rf "$sdk/stubs-$1"
	mkdir -p "$sdk/stubs-$1"
	: > "$sdk/stubs-$1/empty.c"
	for library in libkvm.so.7 libmemstat.so.3 libprocstat.so.1 libdevstat.so.7; do
		"$cc" -shared -nostdlib -Wl,-soname,$library -o "$sdk/stubs-$1/${library%.*}" "$sdk/stubs-$1/empty.c"
	done
	touch "$sdk/stubs-$1/.done"
}

mkdir -p "$sdk"
need_rust
need_zig
for architecture in x86_64 aarch64; do
	make_target $architecture
done
echo "$sdk"
