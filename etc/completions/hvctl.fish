# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_hvctl_global_optspecs
    string join \n f/config= j/json V/version h/help
end

function __fish_hvctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_hvctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_hvctl_using_subcommand
    set -l cmd (__fish_hvctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c hvctl -n "__fish_hvctl_needs_command" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_needs_command" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_needs_command" -s V -l version -d 'Print the version'
complete -c hvctl -n "__fish_hvctl_needs_command" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_needs_command" -f -a "status" -d 'One page: host, daemons, last backup, pools, VFs, injected addresses'
complete -c hvctl -n "__fish_hvctl_needs_command" -f -a "doctor" -d 'Look for every known complaint, and say what mends it'
complete -c hvctl -n "__fish_hvctl_needs_command" -f -a "kvp" -d 'Read and write the pools of the key-value exchange'
complete -c hvctl -n "__fish_hvctl_needs_command" -f -a "host" -d 'What the host says of itself'
complete -c hvctl -n "__fish_hvctl_needs_command" -f -a "vss" -d 'Live backup: check it, see how the last ones went, try a freeze'
complete -c hvctl -n "__fish_hvctl_needs_command" -f -a "vf" -d 'VFs (SR-IOV): see and change how hnN and its VF are joined'
complete -c hvctl -n "__fish_hvctl_needs_command" -f -a "ip" -d 'Addresses that the host set: see them, take them back'
complete -c hvctl -n "__fish_hvctl_needs_command" -f -a "metrics" -d 'The numbers of status for Prometheus'
complete -c hvctl -n "__fish_hvctl_needs_command" -f -a "completions" -d 'Print the completions for a shell'
complete -c hvctl -n "__fish_hvctl_using_subcommand status" -s i -l interval -d 'Seconds between two looks' -r
complete -c hvctl -n "__fish_hvctl_using_subcommand status" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand status" -s w -l watch -d 'Show it again and again, until it is interrupted'
complete -c hvctl -n "__fish_hvctl_using_subcommand status" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand status" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand doctor" -l root -d 'The directory that stands for /, for tests' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand doctor" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand doctor" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and not __fish_seen_subcommand_from list get put delete export import watch" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and not __fish_seen_subcommand_from list get put delete export import watch" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and not __fish_seen_subcommand_from list get put delete export import watch" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and not __fish_seen_subcommand_from list get put delete export import watch" -f -a "list" -d 'List the items of a pool, or of all; of "auto" what the host would be told now'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and not __fish_seen_subcommand_from list get put delete export import watch" -f -a "get" -d 'Print the value of a key'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and not __fish_seen_subcommand_from list get put delete export import watch" -f -a "put" -d 'Give a key a value, in the place of all records of the key'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and not __fish_seen_subcommand_from list get put delete export import watch" -f -a "delete" -d 'Remove a key'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and not __fish_seen_subcommand_from list get put delete export import watch" -f -a "export" -d 'Print the items of a pool as JSON lines'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and not __fish_seen_subcommand_from list get put delete export import watch" -f -a "import" -d 'Give keys their values from JSON lines on standard input, such as export prints'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and not __fish_seen_subcommand_from list get put delete export import watch" -f -a "watch" -d 'Print each change as it happens, until it is interrupted'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from list" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from list" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from get" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from get" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from put" -l pool -d 'The pool; another one than the guest\'s own needs --force' -r
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from put" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from put" -l force -d 'Write to a pool that is the host\'s'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from put" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from put" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from delete" -l pool -d 'The pool; another one than the guest\'s own needs --force' -r
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from delete" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from delete" -l force -d 'Write to a pool that is the host\'s'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from delete" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from delete" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from export" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from export" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from import" -l pool -d 'The pool; another one than the guest\'s own needs --force' -r
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from import" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from import" -l force -d 'Write to a pool that is the host\'s'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from import" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from watch" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from watch" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand kvp; and __fish_seen_subcommand_from watch" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand host" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand host" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand host" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and not __fish_seen_subcommand_from check history test" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and not __fish_seen_subcommand_from check history test" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and not __fish_seen_subcommand_from check history test" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and not __fish_seen_subcommand_from check history test" -f -a "check" -d 'What a backup would do with each mount, and whether one can be made'
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and not __fish_seen_subcommand_from check history test" -f -a "history" -d 'The last backups'
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and not __fish_seen_subcommand_from check history test" -f -a "test" -d 'Freeze and thaw this guest, by the steps of a backup with its hooks, and see how long each takes'
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and __fish_seen_subcommand_from check" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and __fish_seen_subcommand_from check" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and __fish_seen_subcommand_from history" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and __fish_seen_subcommand_from history" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and __fish_seen_subcommand_from history" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and __fish_seen_subcommand_from test" -s s -l seconds -d 'How long it stays frozen' -r
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and __fish_seen_subcommand_from test" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and __fish_seen_subcommand_from test" -s y -l yes -d 'Do not ask'
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and __fish_seen_subcommand_from test" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand vss; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and not __fish_seen_subcommand_from list plan apply undo" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and not __fish_seen_subcommand_from list plan apply undo" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and not __fish_seen_subcommand_from list plan apply undo" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and not __fish_seen_subcommand_from list plan apply undo" -f -a "list" -d 'The interfaces of hn(4), their VFs and laggs, and which one carries the data'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and not __fish_seen_subcommand_from list plan apply undo" -f -a "plan" -d 'Print what a hand-over would do'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and not __fish_seen_subcommand_from list plan apply undo" -f -a "apply" -d 'Join the interface and its VF'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and not __fish_seen_subcommand_from list plan apply undo" -f -a "undo" -d 'Take them apart'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from list" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from list" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from plan" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from plan" -s u -l undo -d 'What taking them apart would do'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from plan" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from plan" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from apply" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from apply" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from apply" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from undo" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from undo" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand vf; and __fish_seen_subcommand_from undo" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and not __fish_seen_subcommand_from show history restore" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and not __fish_seen_subcommand_from show history restore" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and not __fish_seen_subcommand_from show history restore" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and not __fish_seen_subcommand_from show history restore" -f -a "show" -d 'The addresses that the host set and that are in force'
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and not __fish_seen_subcommand_from show history restore" -f -a "history" -d 'What the host wanted to set, and what became of it'
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and not __fish_seen_subcommand_from show history restore" -f -a "restore" -d 'Take back what the host\'s configuration has changed'
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and __fish_seen_subcommand_from show" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and __fish_seen_subcommand_from show" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and __fish_seen_subcommand_from history" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and __fish_seen_subcommand_from history" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and __fish_seen_subcommand_from history" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and __fish_seen_subcommand_from restore" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and __fish_seen_subcommand_from restore" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand ip; and __fish_seen_subcommand_from restore" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand metrics" -s o -l output -d 'Write this file, whole at once, instead of standard output' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand metrics" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand metrics" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand metrics" -s h -l help -d 'Print help'
complete -c hvctl -n "__fish_hvctl_using_subcommand completions" -s f -l config -d 'Use this configuration instead of the usual one' -r -F
complete -c hvctl -n "__fish_hvctl_using_subcommand completions" -s j -l json -d 'Print JSON'
complete -c hvctl -n "__fish_hvctl_using_subcommand completions" -s h -l help -d 'Print help'
