#!/bin/sh
# readme-demo.sh [--check]: puts the first chapter of the demo, as it is now, into README.md between its marks; with
# --check it only compares. The demo must have been built: target/debug/hvsim.
set -eu
cd "$(dirname "$0")/.."
new=$(mktemp)
trap 'rm -f "$new"' EXIT
target/debug/hvsim demo | awk '
	/^=+$/ { chapter++ }
	chapter == 1 { if (have) print last; last = $0; have = 1 }
	chapter > 1 { exit }
' > "$new.demo"
awk -v demo="$new.demo" '
	/^<!-- end of demo -->$/ { inside = 0; print "```" }
	!inside { print }
	/^<!-- demo:/ {
		inside = 1
		print "```"
		while ((getline line < demo) > 0) if (line !~ /^=+$/) lines[++n] = line
		while (n > 0 && lines[n] == "") n--
		for (i = 1; i <= n; i++) print lines[i]
	}
' README.md > "$new"
rm -f "$new.demo"
if [ "${1:-}" = --check ]; then
	diff README.md "$new" || {
		echo 'README.md does not show the demo as it is: run sh scripts/readme-demo.sh' >&2
		exit 1
	}
else
	cat "$new" > README.md
fi
