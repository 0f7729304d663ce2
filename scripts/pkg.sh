#!/bin/sh
# pkg.sh: makes dist/hyperv-guest-VERSION.pkg for pkg(8) from the cross-built programs for amd64, in the layout of the
# port, and checks it: unpacked it must be what "make install PREFIX=/usr/local" installs. The same commit gives the
# same bytes.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
sh scripts/need.sh python3 zstd git
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version *= *"\(.*\)"/\1/p' Cargo.toml)
# The release that the programs are linked for.
release=$(sed -n 's/^release=\([0-9]*\).*/\1/p' scripts/freebsd-sdk.sh)
packages=$(sh scripts/programs.sh | awk '{ printf "-p %s ", $1 }')
stage=$root/dist/stage
package=dist/hyperv-guest-$version.pkg

# Where they look for their configuration is built in, so these are not the programs of "make freebsd".
# shellcheck disable=SC2086 # a list of options
HV_CONFIG_FILE=/usr/local/etc/hyperv.toml sh scripts/freebsd-cargo.sh x86_64 build --locked --release --bins $packages

rm -rf "$stage" "$package"
PREFIX=/usr/local DESTDIR=$stage PROGRAMS=$root/target/freebsd/x86_64-unknown-freebsd/release sh scripts/install.sh install
# As the ports framework does; pkg(8) does not compress pages.
find "$stage/usr/local/share/man" -type f -exec gzip -n9 {} +
for program in $(sh scripts/programs.sh | awk '{ print $3 "/" $2 }'); do
	grep -q /usr/local/etc/hyperv.toml "$stage/usr/local/$program" || {
		echo "pkg: $program looks for its configuration elsewhere" >&2
		exit 1
	}
done
python3 packaging/pkg.py make "$stage" "$version" "$release" x86_64 "$(git log -1 --format=%ct)" dist/package.tar
zstd -q --rm -19 -f dist/package.tar -o "$package"
zstd -q -d -f "$package" -o dist/check.tar
python3 packaging/pkg.py check dist/check.tar "$stage"
rm dist/check.tar
echo "$package $(wc -c < "$package" | tr -d ' ') bytes"
