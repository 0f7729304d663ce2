#!/bin/sh
# mutants.sh MODULE SHARD: changes one thing after another in a module of crates/core and lists what no unit test noticed.
# Needs cargo-mutants.
#
# In two phases, because all tests of the crate take several times as long as the build of a mutant. The first runs the
# module's own tests, without those that try every step of a fault. The second runs all tests of the crate against what
# survived. It all happens in a copy of the source below target/mutants, which the next run uses again. The modelled disk
# is left out: it is an instrument of tests.
set -eu
cd "$(dirname "$0")/.."
module=$1
shard=$2

own=
if [ "$module" = kvp ]; then
	own='-- --skip a_second_crash_during --skip an_error_at_any_step --skip kill_at_every_step --skip power_cut_at_every_step'
fi

out=$PWD/target/mutants
tree=$out/tree
mkdir -p "$tree" "$out/own" "$out/all"
# The copies are newer than what was built from a mutant, so cargo builds them again.
tar -cf - --exclude ./target --exclude ./fuzz/target --exclude ./dist --exclude ./.git . | tar -xmf - -C "$tree"
export CARGO_TARGET_DIR="$out/target" CARGO_PROFILE_DEV_DEBUG=0

# cargo-mutants ends with 2 if a mutant survived and with 3 if one met the time limit.
mutate() {
	status=0
	cargo-mutants mutants --dir "$tree" --in-place --package hv_core --cargo-arg=--lib --no-times --exclude 'crates/core/src/kvp/pool/disk.rs' "$@" || status=$?
	[ "$status" -le 3 ] && [ "$status" -ne 1 ]
}

# shellcheck disable=SC2086 # The words of $own are arguments.
mutate --file "crates/core/src/$module/**/*.rs" --shard "$shard" --minimum-test-timeout 60 --output "$out/own" -- "$module::" $own

if ! grep -q '"name"' "$out/own/mutants.out/mutants.json"; then
	echo "There is no mutant in shard $shard of $module."
	exit 0
fi
missed=$out/own/mutants.out/missed.txt
if ! [ -s "$missed" ]; then
	echo 'No mutant survived the tests of its module.'
	exit 0
fi
echo "Now all tests of the crate, against what survived those of $module."
# Only their files, because cargo-mutants adds each "delete field" of a file to those that --re selects.
files=$(cut -d : -f 1 "$missed" | sort -u | sed 's/^/--file /')
survivors=$(sed 's/[][\\.*^$+?(){}|&-]/\\&/g; s/.*/^&$/' "$missed" | paste -s -d '|' -)
# shellcheck disable=SC2086 # The words of $files are arguments.
mutate $files --re "$survivors" --minimum-test-timeout 120 --output "$out/all"
if [ -s "$out/all/mutants.out/missed.txt" ]; then
	echo 'No test noticed:'
	cat "$out/all/mutants.out/missed.txt"
fi
