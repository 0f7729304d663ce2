# host.sh: for the steps that need the simulated host. It serves /dev/hv_kvp_dev and the backup devices by cuse(3), which
# Hyper-V's own kernel driver would have made already.
# Sourced from the root of the sources. Sets scratch, a directory that goes away at the end together with the host; a
# step that leaves more behind defines tidy_up.
# shellcheck shell=sh

if [ "$(sysctl -n kern.vm_guest)" = hv ]; then
	echo "this machine is a guest of Hyper-V, which has the devices already" >&2
	exit 69
fi
cargo build --locked --release --bin hvsim
scratch=$(realpath "$(mktemp -d)")
host_pid=
devd_ran=

tidy_up() { :; }

end_host() {
	status=$?
	set +e
	tidy_up
	[ -z "$host_pid" ] || kill "$host_pid"
	wait
	[ -z "$devd_ran" ] || service devd onestart > /dev/null
	rm -rf "$scratch"
	exit $status
}
trap end_host EXIT
trap 'exit 1' HUP INT TERM

# start_host [OPTION]...: comes back when the devices are there.
start_host() {
	# By its rules devd(8) starts the installed daemons, base's or ours, as soon as the devices are there, and one device
	# serves one daemon.
	if service devd onestatus > /dev/null 2>&1; then
		service devd onestop
		devd_ran=yes
	fi
	kldstat -q -m cuse || kldload cuse
	mkfifo "$scratch/ready"
	target/release/hvsim serve --dir "$scratch/host" "$@" > "$scratch/ready" &
	host_pid=$!
	read -r word _ < "$scratch/ready"
	[ "$word" = ready ]
}

host() { target/release/hvsim host --dir "$scratch/host" "$@"; }

# end_daemon NAME [SIGNAL]: comes back when it is gone. A child of it that has not become another program yet has its
# name, and may be gone before its turn comes.
end_daemon() {
	for pid in $(pgrep -x "$1"); do
		kill -s "${2:-TERM}" "$pid" 2> /dev/null || continue
		pwait -t 20 "$pid" || :
	done
}
