# For GNU make and BSD make alike: plain rules, no conditionals, no functions. What is longer than a line
# is in scripts/. All of cargo's output is below target/, FreeBSD's in target/freebsd.

CARGO ?= cargo
# Arguments for one bench, e.g. make bench-kvp ARGS='--idle 0'
ARGS ?=
# A folder that makes root directories in which FreeBSD's executables run on Linux, for test-freebsd.
FBSD_ABI ?=
# /usr replaces the programs of the base system, anything else is the layout of a port.
PREFIX ?= /usr/local
DESTDIR ?=
# For fuzz: how long each target runs. More for the driver in ARGS, e.g. ARGS='--seed 7 kvp'.
SECONDS ?= 20
# For soak.
MINUTES ?= 1
# For faults.
EVERY ?= all
# For freebsd-vm.
IMAGE ?=
# For mutants: abi, kvp, vss, plan, injection, hn or rc, and which part of its mutants.
MODULE ?= abi
SHARD ?= 0/8

NATIVE = $(CARGO) build --locked --workspace --bins
# Selected by the name of the program, not of its crate, so that the features are those of NATIVE
# and nothing is compiled twice.
HVSIM = $(CARGO) run --locked --release --bin hvsim --

.PHONY: help demo build install uninstall dist port pkg deny deny-advisories test test-freebsd freebsd-vm fuzz faults soak coverage bench bench-kvp bench-vss bench-vf bench-programs mutants \
	freebsd freebsd-build freebsd-clippy freebsd-abi lint fmt-check clippy doc shellcheck man-check programs-check need-cargo clean

help:
	@echo 'To try and to test:'
	@echo '  make demo            a simulated Hyper-V host talks to the programs'
	@echo '  make test            all tests'
	@echo '  make lint            format, clippy, documentation, manual pages, scripts'
	@echo '  make bench           speed, wake-ups, memory, as ratios (bench-kvp, -vss, -vf, -programs)'
	@echo '  make doc             the API documentation, private items included'
	@echo '  make fuzz            mutated inputs against properties (SECONDS=20 each)'
	@echo '  make faults          killed, and failing, at every system call'
	@echo '  make soak            everything at once for a while (MINUTES=1)'
	@echo '  make mutants         changes in the source that no test notices (MODULE=, SHARD=)'
	@echo '  make coverage        lines of crates/core that its tests reach'
	@echo 'FreeBSD programs, on Linux:'
	@echo '  make freebsd         cross-build, lint and ABI check, amd64 and arm64'
	@echo '  make test-freebsd    their tests and the demo (FBSD_ABI=folder)'
	@echo '  make freebsd-vm      what needs a FreeBSD kernel, in QEMU (IMAGE=file)'
	@echo 'To install and to give away:'
	@echo '  make build install   PREFIX=/usr/local or /usr, DESTDIR=; uninstall'
	@echo '  make dist port pkg   source tarball, ports directory, package for amd64'
	@echo '  make deny            licences, sources of the crates (deny-advisories: RustSec)'
	@echo '  make clean           removes everything that was built'

# The same build as for the tests: a newcomer sees the first line soon, and nothing is compiled twice.
demo: need-cargo
	@echo 'Building the programs as "make test" does; the first time takes about a minute.'
	$(NATIVE)
	$(CARGO) run --quiet --locked --bin hvsim -- demo

# The programs first: tests start them from the target directory, and cargo only builds those
# of the crate under test.
test: need-cargo
	$(NATIVE)
	$(CARGO) test --locked --workspace

test-freebsd:
	@FBSD_ABI='$(FBSD_ABI)' sh scripts/freebsd-test.sh

# The configuration's place is built in, so PREFIX matters here already.
build: need-cargo
	@PREFIX='$(PREFIX)' CARGO='$(CARGO)' sh scripts/install.sh build

# As root, after "make build" with the same PREFIX as an ordinary user.
install uninstall:
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' sh scripts/install.sh $@

# What is given to others, each checked and the same bytes for the same commit; everything goes below dist.
dist:
	@sh scripts/dist.sh --check

port: dist
	@sh scripts/port.sh --check

pkg:
	@sh scripts/pkg.sh

# Licences, sources and duplicates of the crates: everything in deny.toml that needs nothing but the registry. It looks at
# the crates of every target, of which a build fetches only its own.
deny: need-cargo
	@sh scripts/need.sh cargo-deny
	$(CARGO) fetch --locked
	cargo-deny --offline check bans licenses sources

# Fetches the RustSec database.
deny-advisories:
	@sh scripts/need.sh cargo-deny
	cargo-deny check advisories

# On a FreeBSD kernel, in QEMU; IMAGE is a disk image that lets root in, see tests/freebsd/README.md.
freebsd-vm:
	@sh scripts/freebsd-vm.sh '$(IMAGE)'

# Mutated inputs against the properties in fuzz/src, on stable Rust. One target at a time and guided by coverage:
# cargo fuzz run --features libfuzzer TARGET
fuzz: need-cargo
	$(CARGO) run --locked --release --manifest-path fuzz/Cargo.toml --target-dir target/fuzz -- --seconds '$(SECONDS)' $(ARGS)

# Every system call of the programs fails in every way, or is their last. The test suite tries some of these cases; EVERY=10
# tries every tenth.
faults: need-cargo
	$(NATIVE)
	HVSIM_FAULTS='$(EVERY)' $(CARGO) test --locked --workspace --test syscalls --test vfup --test injection every_system_call -- --nocapture --test-threads 2

# The real daemons under everything at once; needs FUSE.
soak: need-cargo
	$(NATIVE)
	$(CARGO) run --quiet --locked --bin hvsim -- soak --minutes '$(MINUTES)'

# Changes one thing after another in a module of crates/core and lists what no unit test noticed; needs cargo-mutants.
# First the module's own tests, then all tests of crates/core against what survived. SHARD=0/8 takes an eighth of all.
mutants: need-cargo
	@sh scripts/need.sh cargo-mutants
	@sh scripts/mutants.sh '$(MODULE)' '$(SHARD)'

# Needs llvm-profdata and llvm-cov.
coverage: need-cargo
	@CARGO='$(CARGO)' sh scripts/coverage.sh

bench: bench-kvp bench-vss bench-vf bench-programs

bench-kvp: need-cargo
	$(NATIVE) --release
	$(HVSIM) bench $(ARGS)

bench-vss: need-cargo
	$(NATIVE) --release
	$(HVSIM) bench vss $(ARGS)

bench-vf: need-cargo
	$(NATIVE) --release
	$(HVSIM) bench vf $(ARGS)

bench-programs: need-cargo
	$(NATIVE) --release
	$(HVSIM) bench programs $(ARGS)

freebsd: freebsd-build freebsd-clippy freebsd-abi

freebsd-build:
	@sh scripts/freebsd-build.sh

freebsd-clippy:
	@sh scripts/freebsd-clippy.sh

freebsd-abi: need-cargo
	@sh scripts/freebsd-abi.sh

lint: fmt-check clippy doc shellcheck man-check programs-check

fmt-check: need-cargo
	@sh scripts/need.sh cargo-fmt
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check

clippy: need-cargo
	@sh scripts/need.sh cargo-clippy
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

doc: need-cargo
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items

shellcheck:
	@sh scripts/need.sh shellcheck
	shellcheck scripts/*.sh .ci/run crates/hvsim/tests/rc/* tests/freebsd/*.sh
	@sh scripts/rc.d.sh --check

man-check:
	@sh scripts/man-check.sh

programs-check:
	@sh scripts/programs.sh --check

need-cargo:
	@sh scripts/need.sh $(CARGO) cc

clean:
	$(CARGO) clean
	rm -rf target dist
