# vss-guest.sh: for the steps about live backup. UFS file systems on disks of memory or in files, a daemon that deals with
# nothing but them, and looks at who sleeps. Sourced after host.sh, from the root of the sources.
# shellcheck shell=sh
# shellcheck disable=SC2154 # scratch is set by host.sh

daemon=$PWD/target/release/hv_vss_daemon
# DISK=MOUNT-POINT of each, newest first.
made=
helpers=

say() { echo "vss: $*"; }

tidy_up_vss() {
	end_daemon hv_vss_daemon KILL
	for helper in $helpers; do
		kill -9 "$helper" 2> /dev/null
	done
	for pair in $made; do
		umount -f "${pair#*=}" 2> /dev/null
		mdconfig -d -u "${pair%%=*}"
	done
}

tidy_up() { tidy_up_vss; }

# refused COMMAND...: it must fail.
refused() {
	if "$@"; then
		say "not refused: $*"
		return 1
	fi
}

# helper PID: it is killed at the end.
helper() { helpers="$1 $helpers"; }

# make_ufs DIRECTORY [FILE]: a new UFS of 64 MB, in memory or in a file, mounted there.
make_ufs() {
	if [ $# -gt 1 ]; then
		truncate -s 64m "$2"
		disk=$(mdconfig -a -t vnode -f "$2")
	else
		disk=$(mdconfig -a -t swap -s 64m)
	fi
	made="$disk=$1 $made"
	newfs -U "/dev/$disk" > /dev/null
	mkdir -p "$1"
	mount "/dev/$disk" "$1"
}

# configure SETTINGS MOUNT-POINT...: of all that is mounted, a backup deals with these as it does without rules.
configure() {
	settings=$1
	shift
	{
		echo "[vss]"
		[ -z "$settings" ] || echo "$settings"
		printf 'exclude = ['
		mount -p | awk '{ print $2 }' | while read -r on; do
			keep=
			for wanted; do
				[ "$on" != "$wanted" ] || keep=yes
			done
			[ -n "$keep" ] || printf '"%s", ' "$on"
		done
		echo ']'
	} > "$scratch/hyperv.toml"
	"$daemon" -f "$scratch/hyperv.toml" -t
}

# rules_for MOUNT-POINT: the sections of a configuration by which a backup suspends it and ignores all other mounts.
rules_for() {
	cat << EOF

[[vss.mounts]]
mount-point = "$1"
action = "suspend"

[[vss.mounts]]
mount-point = "**"
action = "ignore"
EOF
}

start_daemon() { "$daemon" -f "$scratch/hyperv.toml"; }

# sleeps PID [CHANNEL]: whether it comes to sleep there within 10 s; "suspfs" is where a write to what is suspended waits.
sleeps() {
	tries=0
	until [ "$(ps -o wchan= -p "$1" | tr -d ' ')" = "${2-suspfs}" ]; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || return 1
		sleep 0.1
	done
}

# ends PID SECONDS: whether it is gone by then. One that is not is shown, with what it waits for.
ends() {
	tries=0
	until ps -o state= -p "$1" | awk '/^[^Z]/ { alive = 1 } END { exit alive }'; do
		tries=$((tries + 1))
		if [ $tries -ge $(($2 * 10)) ]; then
			procstat -kk "$1" || :
			return 1
		fi
		sleep 0.1
	done
}

# is_writable DIRECTORY: whether a file can be made there within 10 s.
is_writable() {
	touch "$1/.written" &
	writer=$!
	helper $writer
	ends $writer 10
}

# is_suspended DIRECTORY: whether who writes there sleeps for its resume; the writer is left in $writer.
is_suspended() {
	touch "$1/.sleeping" &
	writer=$!
	helper $writer
	sleeps $writer
}
