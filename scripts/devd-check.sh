#!/bin/sh
# devd-check.sh FILE ...: refuses what devd(8) refuses, for a mistake in any file of rules keeps it from starting at all.
# The tokens are those of FreeBSD's sbin/devd/token.l, the blocks those of parse.y; hvsim's devd is held against it by a test.
set -eu
[ $# -gt 0 ] || {
	sed -n 2,3p "$0" >&2
	exit 64
}
for file; do
	# A comment at the end of a file without a newline is none.
	open=$(tail -c 1 "$file")
	awk -v file="$file" -v open="$open" '
	{ text = text $0 "\n" }
	END {
		if (open != "") text = substr(text, 1, length(text) - 1)
		while (text != "") {
			if (match(text, /^[ \t\n]+/)) { cut(); continue }
			if (match(text, /^(#|\/\/)[^\n]*\n/)) { cut(); continue }
			if (match(text, /^\/\*([^*]|\*+[^*\/])*\*+\//)) { cut(); continue }
			# Letters for kinds: N number, S string, k keyword of a statement, b of a block, o of options, i identifier.
			if (match(text, /^"[^"]+"/)) { kinds = kinds "S"; cut(); continue }
			if (match(text, /^[0-9]+/)) { kinds = kinds "N"; cut(); continue }
			if (match(text, /^[{};]/)) { kinds = kinds substr(text, 1, 1); cut(); continue }
			if (match(text, /^[A-Za-z][A-Za-z0-9_-]*/)) {
				word = substr(text, 1, RLENGTH)
				if (word ~ /^(notify|attach|detach|nomatch)$/) kinds = kinds "b"
				else if (word == "match") kinds = kinds "m"
				else if (word ~ /^(action|media-type|device-name|class|subdevice)$/) kinds = kinds "k"
				else if (word == "options") kinds = kinds "o"
				else if (word ~ /^(directory|pid-file)$/) kinds = kinds "d"
				else if (word == "set") kinds = kinds "s"
				else kinds = kinds "i"
				cut()
				continue
			}
			# Any other character is passed over, as the scanner does.
			text = substr(text, 2)
		}
		all = kinds
		while (match(kinds, /^bN\{(mSS;|kS;)*\};/) || match(kinds, /^o\{(dS;|siS;)+\};/))
			kinds = substr(kinds, RLENGTH + 1)
		if (kinds != "") {
			before = substr(all, 1, length(all) - length(kinds))
			print file ": devd would not start: block " gsub(/\};/, "", before) + 1 " is no rule" > "/dev/stderr"
			exit 65
		}
	}
	function cut() { text = substr(text, RLENGTH + 1) }
	' "$file"
done
