#!/bin/sh
# all.sh [STEP]...: runs the steps (all without arguments) as root on a FreeBSD machine that may be thrown away.
# Installs lang/rust where there is no cargo. Ends with 1 if a step failed, after all have run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ "$(uname -s)" != FreeBSD ] || [ "$(id -u)" != 0 ]; then
	echo "all.sh: this changes the machine: root on FreeBSD only" >&2
	exit 69
fi
[ $# -gt 0 ] || set -- build confine install rcd devd kvp injection vss lagg vss-mapped vss-efi vss-image vss-kill vss-unmount hvctl
command -v cargo > /dev/null 2>&1 || env ASSUME_ALWAYS_YES=yes pkg install -y rust
failed=
for step; do
	echo "=== $step ($(uname -r))"
	# Each command is shown: nobody can look at the machine afterwards.
	if ! sh -x "$here/$step.sh"; then
		failed="$failed $step"
	fi
done
if [ -n "$failed" ]; then
	echo "=== failed:$failed" >&2
	exit 1
fi
echo "=== passed"
