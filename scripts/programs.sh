#!/bin/sh
# programs.sh:         prints the lines of scripts/programs, "crate program directory".
# programs.sh --check: fails when that table and the crates disagree.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

table() {
	sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$root/scripts/programs"
}

# The programs that the crates make, "crate program", but for the simulator, which is not installed.
made() {
	for manifest in "$root"/crates/*/Cargo.toml; do
		crate=$(basename "$(dirname "$manifest")")
		[ "$crate" != hvsim ] || continue
		if grep -q '^\[\[bin\]\]' "$manifest"; then
			awk -v crate="$crate" '
				/^\[/ { in_bin = ($0 == "[[bin]]") }
				in_bin && $1 == "name" { gsub(/"/, "", $3); print crate, $3 }' "$manifest"
		elif [ -e "$(dirname "$manifest")/src/main.rs" ]; then
			sed -n "s/^name *= *\"\(.*\)\"/$crate \1/p" "$manifest" | head -n 1
		fi
	done
}

case ${1-} in
'') table ;;
--check)
	listed=$(table | awk '{ print $1, $2 }' | sort)
	present=$(made | sort)
	if [ "$listed" != "$present" ]; then
		printf 'scripts/programs lists:\n%s\nthe crates make:\n%s\n' "$listed" "$present" >&2
		exit 1
	fi
	;;
*)
	echo "usage: programs.sh [--check]" >&2
	exit 64
	;;
esac
