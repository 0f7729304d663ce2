#!/bin/sh
# readme-demo.sh [--check]: puts what the demo prints now into README.md, between its marks; with --check it only compares.
#   <!-- demo: TITLE -->           the chapter of this title
#   <!-- demo: TITLE, commands --> what its commands print
# Numbers that differ from run to run (process numbers, times, memory) do not count. The demo must have been built:
# target/debug/hvsim.
set -eu
cd "$(dirname "$0")/.."
new=$(mktemp)
trap 'rm -f "$new" "$new".*' EXIT
target/debug/hvsim demo > "$new.demo"
awk -v demo="$new.demo" '
	function chapter(title,    line, last, inside, n) {
		n = 0
		close(demo)
		while ((getline line < demo) > 0) {
			if (line ~ /^=+$/) {
				inside = (last == title)
				if (n > 0) n--
			} else if (inside || n > 0) {
				if (!inside) break
				lines[++n] = line
			}
			last = line
		}
		while (n > 0 && lines[n] == "") n--
		return n
	}
	/^<!-- end of demo -->$/ { inside_mark = 0; print "```" }
	!inside_mark { print }
	/^<!-- demo: / {
		inside_mark = 1
		title = $0
		sub(/^<!-- demo: /, "", title)
		sub(/ -->$/, "", title)
		commands = sub(/, commands$/, "", title)
		print "```"
		count = chapter(title)
		command = 0
		for (i = 1; i <= count; i++) {
			if (commands && lines[i] ~ /^    # /) command = 1
			if (commands && lines[i] ~ /^(    ok    [^ ]|    WRONG|\*)/) { if (command) exit_block = 1; command = 0 }
			if (commands && exit_block) break
			if (!commands || command) print commands ? substr(lines[i], 5) : lines[i]
		}
		exit_block = 0
	}
' README.md > "$new"

# What differs from run to run.
steady() {
	sed -E -e 's/pid [0-9]+/pid N/' -e 's/[0-9]+(\.[0-9]+)? (µs|ms|s|min|KiB|MiB)/N/g' -e 's/slowest: [a-z-]+/slowest: R/' \
		-e 's/(, |changed |last )(now|N ago)/\1AGO/g' -e 's/[0-9]{4}-[0-9-]+ [0-9:]+/MOMENT/' -e 's/ +/ /g' "$1"
}
if [ "${1:-}" = --check ]; then
	steady README.md > "$new.old"
	steady "$new" > "$new.new"
	diff "$new.old" "$new.new" || {
		echo 'README.md does not show the demo as it is: run sh scripts/readme-demo.sh' >&2
		exit 1
	}
else
	cat "$new" > README.md
fi
