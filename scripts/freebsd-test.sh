#!/bin/sh
# freebsd-test.sh: runs the tests of whole programs and the demo against the FreeBSD executables for amd64, which lie
# at their stock places in a root directory with FreeBSD's ABI on Linux. Needs root, FUSE and a folder that makes
# such root directories:
#   FBSD_ABI   the folder with mkroot.sh
# Everything goes below target: the root's template is target/freebsd-root, its libraries target/freebsd-abi-build.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
template=$root/target/freebsd-root
# What scripts in the tests call, besides the shell.
host_programs="basename cat chmod chown cp cut date dd dirname env grep head id ln ls mkdir mkfifo mv ps rm sed sleep sort stat
	tail touch tr uname wc"

say() { echo "freebsd-test: $*" >&2; }

if [ ! -x "${FBSD_ABI:-/nonexistent}/mkroot.sh" ]; then
	say "FBSD_ABI must name a folder with mkroot.sh, which makes root directories for FreeBSD's executables on Linux"
	say "FBSD_ABI is ${FBSD_ABI:-not set}; without it the native tests (make test) and the cross-build (make freebsd) remain"
	exit 69
fi
if [ "$(id -u)" != 0 ]; then
	say "a change of the root directory needs root"
	exit 77
fi
if [ ! -c /dev/fuse ]; then
	say "the simulated devices need /dev/fuse: load the kernel's module fuse, or give the container the device"
	exit 69
fi
sh "$root/scripts/need.sh" cargo cc

programs() { sh "$root/scripts/programs.sh"; }

build() {
	packages=$(programs | awk '{ printf "-p %s ", $1 }')
	# shellcheck disable=SC2086 # a list of options
	sh "$root/scripts/freebsd-cargo.sh" x86_64 build --locked --release --bins $packages
	cargo build --locked --workspace --bins
}

make_template() {
	rm -rf "$template"
	# shellcheck disable=SC2086 # a list of names
	FBSD_ABI_BUILD=$root/target/freebsd-abi-build "$FBSD_ABI/mkroot.sh" "$template" $host_programs
	ln -s ../../bin/env "$template/usr/bin/env"
	# Mount points of file systems that are brought to disk by fsync(2).
	mkdir -p "$template/boot/efi" "$template/linux" "$template/esp"
	programs | while read -r _ program directory; do
		install -d "$template/usr/$directory"
		install -m 555 "$root/target/freebsd/x86_64-unknown-freebsd/release/$program" "$template/usr/$directory/"
	done
}

# The unit tests of hv_core, where all that is FreeBSD's own is, and of the simulator as far as it runs on FreeBSD, as
# executables for FreeBSD. Left out is what the root cannot give: kqueue(2), the arguments of a process by sysctl(3), the
# number of threads of this one, a process that has ended and was not collected, set-id programs with a limit by procctl(2), and locks of fcntl(2) and flock(2) that
# exclude each other.
unit_tests() {
	for package in hv_core hvsim; do
		executable=$(FREEBSD_STD=std,test,panic_abort,panic_unwind FREEBSD_STD_FEATURES=panic-unwind,backtrace sh "$root/scripts/freebsd-cargo.sh" x86_64 \
			test --locked --no-run -p $package --lib --message-format=json |
			sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
		target/debug/hvsim run --root "$template" --share "$(dirname "$executable")" -- "$executable" \
			--skip file_watch --skip waiting_for_a_foreign_lock --skip the_lock_is_waited_for_and_not_taken_twice \
			--skip a_journal_is_claimed_by_one_process --skip readers_share_a_file_and_a_writer_does_not \
			--skip a_process_with_threads_starts_no_helper --skip a_process_that_has_ended_and_was_not_collected --skip a_set_id_program_gives_no_privileges
	done
}

# Left out: locks of flock(2) that hold off those of fcntl(2); the cost of a hand-over, which counts processes of this
# system; system calls that fail, which here are those of the stand-in for libc; a child that writes outside of the root.
whole_programs() {
	packages=$(programs | awk '{ printf "-p %s ", $1 }')
	# shellcheck disable=SC2086 # a list of options
	cargo test --locked -p hvsim $packages --test '*' -- --skip cost:: \
		--skip an_interface_locked_by_another_program --skip agents_append_their_reports --skip syscalls:: --skip every_system_call --skip modes_are_the_promised
}

cd "$root"
build
make_template
export HVSIM_FREEBSD_ROOT="$template" HVSIM_REQUIRED=1
unit_tests
whole_programs
cargo run --locked --bin hvsim -- demo
