#!/bin/sh
# dist.sh: makes dist/hyperv-guest-VERSION.tar.gz, the source of the commit that is checked out with all crates in
# vendor/, so that it builds without a network. The same commit gives the same bytes: entries are sorted, belong to
# nobody and have the time of the commit.
# dist.sh --check: makes it twice, compares, and lets cargo resolve and check the programs from the second one offline.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
sh scripts/need.sh cargo git tar gzip
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version *= *"\(.*\)"/\1/p' Cargo.toml)
name=hyperv-guest-$version

# Two crates hold 100 MB of libraries for linking on Windows. Cargo looks at the files that a crate's list names only.
drop_import_libraries() {
	for crate in vendor/winapi-*-pc-windows-gnu*; do
		[ -d "$crate/lib" ] || continue
		rm -r "${crate:?}/lib"
		sed -i 's/"files":{[^}]*}/"files":{}/' "$crate/.cargo-checksum.json"
	done
}

make_tarball() {
	work=$(mktemp -d)
	git archive --format=tar --prefix="$name/" HEAD | tar -xf - -C "$work"
	(
		cd "$work/$name"
		mkdir .cargo
		# It prints the configuration that makes cargo look into vendor/, and complaints elsewhere.
		if ! cargo vendor --locked vendor > .cargo/config.toml 2> "$work/complaints"; then
			cat "$work/complaints" >&2
			exit 1
		fi
		drop_import_libraries
	)
	mkdir -p "$(dirname "$1")"
	tar --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
		--mtime="@$(git log -1 --format=%ct)" -cf - -C "$work" "$name" | gzip -n9 > "$1"
	rm -rf "$work"
}

case ${1-} in
'')
	make_tarball "$root/dist/$name.tar.gz"
	echo "dist/$name.tar.gz $(wc -c < "dist/$name.tar.gz") bytes"
	;;
--check)
	scratch=$(mktemp -d)
	trap 'rm -rf "$scratch"' EXIT
	make_tarball "$root/dist/$name.tar.gz"
	make_tarball "$scratch/again.tar.gz"
	cmp "dist/$name.tar.gz" "$scratch/again.tar.gz"
	tar -xzf "$scratch/again.tar.gz" -C "$scratch"
	cd "$scratch/$name"
	packages=$(sh scripts/programs.sh | awk '{ printf "-p %s ", $1 }')
	# A home without a cache: what is not in the tarball is not there.
	# shellcheck disable=SC2086 # a list of options
	CARGO_HOME=$scratch/home CARGO_TARGET_DIR=$scratch/target RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup} \
		cargo check --offline --locked --quiet $packages --bins
	echo "dist: $name.tar.gz is reproducible and builds offline"
	;;
*)
	sed -n 2,5p "$0" >&2
	exit 64
	;;
esac
