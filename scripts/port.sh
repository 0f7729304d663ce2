#!/bin/sh
# port.sh: makes dist/port/hyperv-guest, a directory for the ports tree: packaging/port with the version, the list of
# crates from Cargo.lock, the rc.d scripts, and distinfo for the tarball of dist.sh and the crates.
# port.sh --check: holds the result against Cargo.lock and the list of installed files.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
port=$root/dist/port/hyperv-guest
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version *= *"\(.*\)"/\1/p' Cargo.toml)
tarball=dist/hyperv-guest-$version.tar.gz

# "name version checksum" of each crate that comes from crates.io.
crates() {
	awk -F '"' '
		/^name = / { name = $2 }
		/^version = / { version = $2 }
		/^checksum = / { print name, version, $2 }' Cargo.lock
}

# The ports framework wants the size of each crate too; cargo keeps the files that it has fetched.
crate_file() { find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$1-$2.crate" | head -n 1; }

makefile() {
	packages=$(sh scripts/programs.sh | awk '{ printf "%s-p %s", sep, $1; sep = " " }')
	services=$(sh scripts/rc.d.sh | tr '\n' ' ' | sed 's/ $//')
	sed -e "s|%%VERSION%%|$version|" -e "s|%%PACKAGES%%|$packages|" -e "s|%%SERVICES%%|$services|" packaging/port/Makefile
}

crate_list() {
	crates | awk '{ printf "%s%s-%s", (NR == 1 ? "CARGO_CRATES=\t" : " \\\n\t\t"), $1, $2 } END { print "" }'
}

distinfo() {
	echo "TIMESTAMP = $(git log -1 --format=%ct)"
	echo "SHA256 (${tarball#dist/}) = $(sha256sum "$tarball" | cut -d ' ' -f 1)"
	echo "SIZE (${tarball#dist/}) = $(wc -c < "$tarball" | tr -d ' ')"
	crates | while read -r name crate_version checksum; do
		file=$(crate_file "$name" "$crate_version")
		if [ -z "$file" ]; then
			echo "port: cargo has not fetched $name $crate_version" >&2
			exit 1
		fi
		echo "SHA256 (rust/crates/$name-$crate_version.crate) = $checksum"
		echo "SIZE (rust/crates/$name-$crate_version.crate) = $(wc -c < "$file" | tr -d ' ')"
	done
}

make_port() {
	[ -e "$tarball" ] || sh scripts/dist.sh
	cargo fetch --locked --quiet
	rm -rf "$port"
	mkdir -p "$port"
	cp -R packaging/port/. "$port"
	makefile > "$port/Makefile"
	crate_list > "$port/Makefile.crates"
	for name in $(sh scripts/rc.d.sh); do
		sh scripts/rc.d.sh "$name" %%PREFIX%% > "$port/files/$name.in"
	done
	distinfo > "$port/distinfo"
}

fail() {
	echo "port: $*" >&2
	exit 1
}

check() {
	[ "$(crates | wc -l)" -eq "$(grep -c '^source = "registry' Cargo.lock)" ] || fail "a crate has no checksum"
	# Nothing may come from a place that the framework's crate list cannot name.
	! grep -q '^source = "git' Cargo.lock || fail "a crate comes from git"
	[ "$(crate_list | wc -l)" -eq "$(crates | wc -l)" ] || fail "the list of crates is not complete"
	[ "$(grep -c ^SHA256 "$port/distinfo")" -eq "$(($(crates | wc -l) + 1))" ] || fail "distinfo is not complete"
	# What cargo has fetched is what the sums say.
	crates | while read -r name crate_version checksum; do
		[ "$(sha256sum "$(crate_file "$name" "$crate_version")" | cut -d ' ' -f 1)" = "$checksum" ] ||
			fail "$name $crate_version is not what its sum says"
	done
	! grep -rn '%%\(VERSION\|PACKAGES\|SERVICES\|NAME\|DEVICE\|DESC\)%%' "$port" || fail "a place is not filled in"
	for name in $(sh scripts/rc.d.sh); do
		sed "s|%%PREFIX%%|/usr/local|g" "$port/files/$name.in" | cmp - "$(staged "etc/rc.d/$name")" ||
			fail "the framework would install another $name"
	done
	echo "port: dist/port/hyperv-guest agrees with Cargo.lock and with what is installed"
}

# A script as "make install" makes it.
staged() {
	sh scripts/rc.d.sh "${1##*/}" /usr/local > "$root/dist/staged"
	echo "$root/dist/staged"
}

case ${1-} in
'') make_port && echo "dist/port/hyperv-guest" ;;
--check) make_port && check ;;
*)
	sed -n 2,4p "$0" >&2
	exit 64
	;;
esac
