#!/bin/sh
# as-user.sh fuse|no-fuse PROGRAM [ARGUMENT...]: root runs PROGRAM as an ordinary user who may or may not
# open /dev/fuse. All that this takes (the user, the device's mode, a way into a checkout that only root
# can reach) happens in a mount namespace that goes away with the program: the machine stays as it is.
# cargo takes it as a "runner": then cargo builds as root and only the tests themselves run as the user.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
uid=54321

usage() {
	sed -n 2,5p "$0" >&2
	exit 64
}

# The first directory on the way to the checkout that others may not enter, or nothing.
closed_directory() {
	rest=${root#/}/ path=
	while [ -n "$rest" ]; do
		path=$path/${rest%%/*}
		rest=${rest#*/}
		case $(stat -c %A "$path") in
		*[xt]) ;;
		*)
			echo "$path"
			return
			;;
		esac
	done
}

# Lays an open directory over the closed one, with nothing in it but the checkout.
open_checkout() {
	closed=$(closed_directory)
	[ -n "$closed" ] || return 0
	mkdir "$scratch/checkout"
	mount --bind "$root" "$scratch/checkout"
	mount -t tmpfs -o mode=755 tmpfs "$closed"
	mkdir -p "$root"
	for entry in "$scratch"/checkout/*; do
		there=$root/${entry##*/}
		if [ -d "$entry" ]; then mkdir "$there"; else : > "$there"; fi
		mount --bind "$entry" "$there"
	done
}

add_user() {
	mkdir "$scratch/home"
	chown $uid:$uid "$scratch/home"
	for file in passwd group; do
		cp /etc/$file "$scratch/$file"
	done
	echo "ordinary:x:$uid:$uid::$scratch/home:/bin/sh" >> "$scratch/passwd"
	echo "ordinary:x:$uid:" >> "$scratch/group"
	for file in passwd group; do
		mount --bind "$scratch/$file" /etc/$file
	done
}

set_fuse_mode() {
	[ -e /dev/fuse ] || return 0
	mknod -m "$1" "$scratch/fuse" c 10 229
	mount --bind "$scratch/fuse" /dev/fuse
}

inside() {
	scratch=$1 fuse=$2 directory=$3
	shift 3
	mount -t tmpfs -o mode=755 tmpfs "$scratch"
	add_user
	case $fuse in
	fuse) set_fuse_mode 666 ;;
	no-fuse) set_fuse_mode 600 ;;
	*) usage ;;
	esac
	open_checkout
	cd "$directory"
	exec setpriv --reuid=$uid --regid=$uid --clear-groups \
		env HOME="$scratch/home" TMPDIR="$scratch/home" USER=ordinary LOGNAME=ordinary "$@"
}

case ${1-} in
--inside)
	shift
	inside "$@"
	;;
esac
[ $# -ge 2 ] || usage
sh "$root/scripts/need.sh" unshare setpriv
fuse=$1
shift
scratch=$(mktemp -d)
trap 'rmdir "$scratch"' EXIT
unshare --mount --propagation private sh "$root/scripts/as-user.sh" --inside "$scratch" "$fuse" "$(pwd)" "$@"
