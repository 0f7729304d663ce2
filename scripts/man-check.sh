#!/bin/sh
# man-check.sh: lets mandoc read the manual pages. That pages of FreeBSD are not on this machine is no fault of ours,
# so of references only those to our own pages are looked at.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/scripts/need.sh" mandoc
cd "$root/docs/man"
failed=0
complaints=$(mandoc -Tlint ./*.[578] 2>/dev/null | grep -v 'STYLE: referenced manual not found: ' || :)
if [ -n "$complaints" ]; then
	echo "$complaints" >&2
	failed=1
fi
missing=$(sed -n 's/^\.\(It \)\{0,1\}Xr \(hv_[a-z]*_daemon\|hyperv[a-z_.]*\|hvctl\) \([0-9]\).*/\2.\3/p' ./*.[578] | sort -u |
	while read -r page; do [ -e "$page" ] || echo "man-check: there is no page $page"; done)
if [ -n "$missing" ]; then
	echo "$missing" >&2
	failed=1
fi
exit $failed
