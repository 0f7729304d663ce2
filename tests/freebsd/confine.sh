#!/bin/sh
# confine.sh: the kernel refuses what the limits of the programs take away: calls on a descriptor outside of its rights
# (Capsicum), and the privileges of a set-id program.
#   CORE_TESTS   the executable with the unit tests of hv_core, where it was built on another machine
set -eu
cd "$(dirname "$0")/../.."
said=$(mktemp)
trap 'rm -f "$said"' EXIT
tests() {
	if [ -n "${CORE_TESTS-}" ]; then
		"$CORE_TESTS" "$@"
	else
		cargo test --locked -p hv_core --lib -- "$@"
	fi
}
tests --nocapture sys::freebsd::confine > "$said" 2>&1 || {
	cat "$said"
	exit 1
}
cat "$said"
# A kernel without Capsicum, or another user than root, would show nothing.
if grep -q '^skipped' "$said"; then exit 1; fi
grep -q '^test result: ok. 4 passed' "$said"
echo "confine: the kernel refuses calls outside of the rights of a descriptor, and the privileges of set-id programs"
