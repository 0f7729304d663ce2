#!/bin/sh
# freebsd-abi.sh: holds the layouts and numbers of hv_core against the genuine FreeBSD headers, which come
# with zig. The example prints C with one _Static_assert for each fact; the compiler is the judge.
#   FREEBSD_SRC   a source tree of FreeBSD, which has the header of the key-value exchange: it is not installed
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sdk=$(sh "$root/scripts/freebsd-sdk.sh")
source=$sdk/freebsd-abi-check.c

cd "$root"
cargo run --locked -q -p hv_core --example freebsd-abi-check > "$source"
facts=$(grep -c '_Static_assert' "$source" || :)
if [ "$facts" -eq 0 ]; then
	echo "freebsd-abi: the example printed no _Static_assert" >&2
	exit 1
fi
for architecture in x86_64 aarch64; do
	"$sdk/cc-$architecture" -std=c11 -Wall -Werror -c -o "$sdk/freebsd-abi-check.o" "$source"
	echo "freebsd-abi: $architecture agrees with FreeBSD's headers in $facts facts"
done

if [ -n "${FREEBSD_SRC:-}" ]; then
	cargo run --locked -q -p hv_core --example freebsd-abi-check kvp > "$source"
	facts=$(grep -c '_Static_assert' "$source")
	"$sdk/cc-x86_64" -std=c11 -I"$FREEBSD_SRC/sys" -c -o "$sdk/freebsd-abi-check.o" "$source"
	echo "freebsd-abi: hv_kvp.h agrees in $facts facts"
fi
