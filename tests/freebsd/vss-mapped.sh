#!/bin/sh
# vss-mapped.sh: what a program stores through mmap(2) survives backups, because the file system that it stores to is
# flushed and not suspended; with mapped-writers = "suspend" pages are lost, and the log says whose; "refuse" refuses.
# With sqlite3(1), a database in WAL mode stays whole over backups under load.
set -eu
cd "$(dirname "$0")/../.."
. tests/freebsd/host.sh
. tests/freebsd/vss-guest.sh
cc -O1 -Wall -Werror -o "$scratch/mapwriter" tests/freebsd/mapwriter.c
# shellcheck disable=SC2119 # without options
start_host
make_ufs "$scratch/ufs"
make_ufs "$scratch/other"

start_writer() {
	"$scratch/mapwriter" "$scratch/ufs/mapped" 256 > "$scratch/lost" &
	writer_pid=$!
	helper $writer_pid
	until [ -s "$scratch/ufs/mapped" ]; do
		sleep 0.1
	done
}

# Not in a command substitution: that is a shell of its own, which cannot wait for the writer.
end_writer() {
	kill -TERM "$writer_pid"
	wait "$writer_pid"
	read -r lost < "$scratch/lost"
}

configure "" "$scratch/ufs" "$scratch/other"
start_writer
"$daemon" -f "$scratch/hyperv.toml" -c | tee "$scratch/check"
grep -q mapwriter "$scratch/check"
start_daemon
for _ in 1 2 3 4 5; do
	host vss freeze
	# The one is not suspended, the other is.
	is_writable "$scratch/ufs"
	is_suspended "$scratch/other"
	host vss thaw
	ends "$writer" 10
	is_writable "$scratch/other"
done
end_daemon hv_vss_daemon
end_writer
say "five backups beside a writer through mmap(2): $lost stores lost"
[ "$lost" = 0 ]

configure 'mapped-writers = "refuse"' "$scratch/ufs" "$scratch/other"
start_writer
start_daemon
refused host vss check
refused host vss freeze
is_writable "$scratch/other"
end_daemon hv_vss_daemon
end_writer
[ "$lost" = 0 ]
say "with \"refuse\", check and freeze are refused"

configure 'mapped-writers = "suspend"' "$scratch/ufs" "$scratch/other"
start_writer
"$daemon" -n -f "$scratch/hyperv.toml" 2>&1 | tee "$scratch/daemon.log" &
sleep 2
host vss freeze
is_suspended "$scratch/ufs"
sleep 1
host vss thaw
ends "$writer" 10
end_daemon hv_vss_daemon
end_writer
say "with \"suspend\": $lost stores lost"
[ "$lost" -gt 0 ] || say "(the kernel kept them, which no FreeBSD seen so far did)"
grep mapwriter "$scratch/daemon.log"

if ! command -v sqlite3 > /dev/null 2>&1; then
	say "no sqlite3 here: the database is left out"
	exit 0
fi
configure "" "$scratch/ufs" "$scratch/other"
start_daemon
database=$scratch/ufs/db
sqlite3 "$database" 'PRAGMA journal_mode=WAL; CREATE TABLE t(n INTEGER PRIMARY KEY, x TEXT);' > /dev/null
# One connection that stays, so that the -shm mapping does.
{
	n=0
	while [ ! -e "$scratch/stop" ]; do
		n=$((n + 1))
		echo "INSERT INTO t(x) VALUES('row $n');"
		sleep 0.01
	done
} | sqlite3 -cmd '.timeout 10000' "$database" &
feeder=$!
helper $feeder
for _ in 1 2 3 4 5 6 7 8 9 10; do
	host vss backup
	[ "$(sqlite3 -cmd '.timeout 10000' "$database" 'PRAGMA integrity_check;')" = ok ]
done
touch "$scratch/stop"
wait $feeder
[ "$(sqlite3 "$database" 'PRAGMA integrity_check;')" = ok ]
say "SQLite in WAL mode: ten backups under load, whole after each, $(sqlite3 "$database" 'SELECT count(*) FROM t;') rows"
end_daemon hv_vss_daemon
