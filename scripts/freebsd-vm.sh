#!/bin/sh
# freebsd-vm.sh IMAGE [STEP]...: boots a disk image of FreeBSD for amd64 in QEMU, with the image left as it is, and runs
# tests/freebsd/all.sh of this commit in it. Root must be let in over ssh: without a password, as in FreeBSD's own
# images named BASIC-CI, or with the private key that SSH_KEY names. SSH_PORT (2222) is the port on this machine.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
image=${1:-}
port=${SSH_PORT:-2222}
# Boot, and the first start of sshd, which makes its keys.
boot_seconds=300

if [ -z "$image" ] || [ ! -r "$image" ]; then
	echo "freebsd-vm: IMAGE must name a disk image of FreeBSD, such as FreeBSD-14.3-RELEASE-amd64-BASIC-CI.raw" >&2
	sed -n 2,4p "$0" >&2
	exit 64
fi
shift
sh "$root/scripts/need.sh" qemu-system-x86_64 ssh git tar
case $image in
*.qcow2) format=qcow2 ;;
*) format=raw ;;
esac
scratch=$(mktemp -d)
# /dev/kvm makes it fast; without it everything works, slowly.
accelerator=tcg
[ ! -w /dev/kvm ] || accelerator=kvm

qemu-system-x86_64 -machine q35,accel=$accelerator -m 4096 -smp 2 -display none -serial "file:$scratch/console" \
	-drive "file=$image,format=$format,if=virtio,snapshot=on" \
	-nic "user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:$port-:22" &
vm=$!
trap 'kill $vm 2>/dev/null || :; rm -rf "$scratch"' EXIT

in_guest() {
	ssh -p "$port" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 \
		${SSH_KEY:+-i "$SSH_KEY"} root@127.0.0.1 "$@"
}

waited=0
until in_guest true < /dev/null 2> /dev/null; do
	if ! kill -0 $vm 2> /dev/null || [ $waited -ge $boot_seconds ]; then
		echo "freebsd-vm: root is not let in over ssh; the end of the console:" >&2
		tail -n 20 "$scratch/console" >&2
		exit 1
	fi
	sleep 5
	waited=$((waited + 5))
done
git -C "$root" archive --format=tar HEAD | in_guest 'mkdir -p /root/hyperv && tar -xf - -C /root/hyperv'
in_guest "cd /root/hyperv && sh tests/freebsd/all.sh $*" < /dev/null
