#!/bin/sh
# freebsd-build.sh: builds every installed program for FreeBSD on x86_64 and aarch64 and checks what came
# out: the loader, the libraries, the symbol versions and the size. Prints a table of sizes.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
limit_kib=900
# The libraries that every FreeBSD has and that may be needed, and the loader that must be asked for.
allowed_libraries="libc.so.7 libthr.so.3"
loader=/libexec/ld-elf.so.1
# libc's symbols of FreeBSD 14 have version FBSD_1.7; a newer one would keep the program from starting there.
newest_symbols=7

sh "$root/scripts/need.sh" readelf
failed=0
fail() {
	echo "freebsd-build: $*" >&2
	failed=1
}

check() {
	readelf -lW "$1" | grep -q "program interpreter: $loader]" || fail "$1 does not ask for the loader $loader"
	libraries=$(readelf -dW "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
	[ -n "$libraries" ] || fail "$1 needs no library, so it is not what was meant to be built"
	for library in $libraries; do
		case " $allowed_libraries " in
		*" $library "*) ;;
		*) fail "$1 needs $library, allowed are only $allowed_libraries" ;;
		esac
	done
	readelf -VW "$1" | sed -n 's/.*Name: FBSD_1\.\([0-9][0-9]*\).*/\1/p' | sort -un | while read -r minor; do
		[ "$minor" -le $newest_symbols ] || echo "FBSD_1.$minor"
	done > "$root/target/freebsd/newer-symbols"
	[ ! -s "$root/target/freebsd/newer-symbols" ] ||
		fail "$1 needs symbols newer than FreeBSD 14: $(tr '\n' ' ' < "$root/target/freebsd/newer-symbols")"
	! readelf -SW "$1" | grep -q ' \.symtab ' || fail "$1 is not stripped"
}

packages=$(sh "$root/scripts/programs.sh" | awk '{ printf "-p %s ", $1 }')
for architecture in x86_64 aarch64; do
	echo "freebsd-build: $architecture"
	# shellcheck disable=SC2086 # a list of options
	sh "$root/scripts/freebsd-cargo.sh" $architecture build --locked --release --bins $packages
done

printf '%-20s %12s %12s   limit for amd64: %s KiB\n' program amd64 arm64 $limit_kib
programs=$(sh "$root/scripts/programs.sh" | awk '{ print $2 }')
for program in $programs; do
	sizes=
	for architecture in x86_64 aarch64; do
		file=$root/target/freebsd/$architecture-unknown-freebsd/release/$program
		check "$file"
		bytes=$(wc -c < "$file" | tr -d ' ')
		sizes="$sizes $(((bytes + 1023) / 1024))"
		# A tool for people, not a daemon of small guests.
		if [ $architecture = x86_64 ] && [ "$program" != hvctl ] && [ "$bytes" -gt $((limit_kib * 1024)) ]; then
			fail "$program has $bytes bytes, more than $limit_kib KiB"
		fi
	done
	# shellcheck disable=SC2086 # one size for each column
	printf '%-20s %8s KiB %8s KiB\n' "$program" $sizes
done
exit $failed
