#!/bin/sh
# devd.sh: the real devd(8) reads the rules of both layouts. It is started beside the one that runs, with a file that
# names nothing but the directory of the rules; with -d it stays in the foreground and tells what it reads.
set -eu
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"; service devd onestart > /dev/null 2>&1 || :' EXIT
# One devd at a time has the kernel's events.
service devd onestop || :

for prefix in /usr /usr/local; do
	DESTDIR=$scratch$prefix PREFIX=$prefix sh scripts/install.sh install
	case $prefix in
	/usr) rules=$scratch$prefix/etc/devd ;;
	*) rules=$scratch$prefix$prefix/etc/devd ;;
	esac
	[ -e "$rules/hyperv.conf" ] || { echo "devd: no rules in $prefix" >&2 && exit 1; }
	printf 'options {\n\tdirectory "%s";\n\tpid-file "%s/pid";\n};\n' "$rules" "$scratch" > "$scratch/devd.conf"
	# timeout(1) ends it with 124 after it has read everything; a rule that it cannot read ends it at once.
	status=0
	timeout 3 devd -d -f "$scratch/devd.conf" > "$scratch/log" 2>&1 || status=$?
	if [ "$status" -ne 124 ] || ! grep -q "hyperv.conf" "$scratch/log" || grep -qi 'syntax error' "$scratch/log"; then
		cat "$scratch/log" >&2
		exit 1
	fi
done
echo "devd: the rules of both layouts are read"
