# What rc(8) would do with interfaces: its own functions run, and ifconfig(8) is only written down.
# Arguments: rc.subr, network.subr, then for each interface its name and the form in which variables have it.
#
# Records end in NUL, on the descriptor that standard output is at first: what rc.conf prints goes elsewhere.
#   vNAME=VALUE      a variable that is set
#   dIF=sync, dIF=   the interface gets its address by DHCP, and whether rc(8) waits for it
#   cN               a call of ifconfig(8) whose N words are the next N records
exec 3>&1 >/dev/null
. "$1"
. "$2"
shift 2

for hv_name in load_rc_config ifconfig_up ipv4_up ipv6_up ipv6_autoconfif dhcpif syncdhcpif
do
	if ! command -v "$hv_name" >/dev/null
	then
		echo "$hv_name is no function of rc(8)" >&2
		exit 69
	fi
done

# The one of rc.subr also writes to the log, and this is no start of the network.
warn() { :; }

hv_record()
{
	printf 'c%d\0' $# >&3
	printf '%s\0' "$@" >&3
}

hv_show()
{
	for hv_name
	do
		eval "[ -z \"\${$hv_name+set}\" ] || printf 'v%s=%s\\0' \"\$hv_name\" \"\${$hv_name}\" >&3"
	done
}

# As rc.d/netif does.
if command -v set_rcvar_obsolete >/dev/null
then
	set_rcvar_obsolete ipv6_enable ipv6_activate_all_interfaces
	set_rcvar_obsolete ipv6_prefer
fi
# What each script of rc.d sees: a variable of rc.conf.d/network is none for rc.d/routing.
load_rc_config routing
hv_show defaultrouter ipv6_defaultrouter
load_rc_config dhclient
load_rc_config network
hv_show dhclient_program dhclient_flags background_dhclient
load_rc_config netif
hv_show ipv6_activate_all_interfaces

IFCONFIG_CMD=hv_record

# network.subr hands values to eval.  Here nothing may happen, so what is more than words is refused.
hv_guard()
{
	eval "hv_value=\$$1"
	case $hv_value in
	*[\;\&\|\<\>\(\)\$\`]* | *"$hv_newline"*)
		echo "$1 has a character that only a shell could use" >&2
		exit 65
		;;
	esac
}

hv_newline='
'
hv_fields=$IFS
IFS=$hv_newline
set -f
for hv_line in $(set)
do
	hv_name=${hv_line%%=*}
	case $hv_name in
	ifconfig_DEFAULT) hv_guard "$hv_name" ;;
	ifconfig_[a-zA-Z]* | ipv4_addrs_[a-zA-Z]* | ipv6_prefix_[a-zA-Z]*)
		for hv_stem
		do
			case $hv_name in
			"ifconfig_$hv_stem" | "ifconfig_${hv_stem}_"* | "ipv4_addrs_$hv_stem" | "ipv6_prefix_$hv_stem")
				hv_guard "$hv_name"
				;;
			esac
		done
		;;
	esac
done
set +f
IFS=$hv_fields

hv_odd=1
for hv_word
do
	# Names and stems take turns.
	if [ "$hv_odd" = 1 ]
	then
		hv_odd=0 hv_interface=$hv_word
		continue
	fi
	hv_odd=1
	hv_show "ifconfig_$hv_word" "ifconfig_${hv_word}_ipv6" "dhclient_flags_$hv_word" "background_dhclient_$hv_word"
	if dhcpif "$hv_interface"
	then
		hv_wait=
		syncdhcpif "$hv_interface" && hv_wait=sync
		printf 'd%s=%s\0' "$hv_interface" "$hv_wait" >&3
	fi
done

# From here on only ifconfig(8) is called, and nothing of that happens.  These would start programs: wpa_supplicant,
# hostapd, dhclient and rtsol.
wpaif() { return 1; }
hostapif() { return 1; }
syncdhcpif() { return 1; }
ipv6_accept_rtadv_up()
{
	ipv6_autoconfif "$1" && hv_record "$1" inet6 accept_rtadv up
}
IFCONFIG_CMD=hv_record
while [ $# -ge 2 ]
do
	ifconfig_up "$1"
	ipv4_up "$1"
	ipv6_up "$1"
	shift 2
done
exit 0
