# The first process of a build's namespaces: when it ends, all others are killed by the kernel. It ends with its
# command, or when its standard input is closed: then the platform is gone.
exec 3<&0
trap 'exit 143' TERM
"$@" 3<&- </dev/null &
job=$!
{ cat <&3 >/dev/null; kill -TERM 1; } 2>/dev/null &
wait "$job"
exit $?
