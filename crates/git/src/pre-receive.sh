#!/bin/sh
# Written by Hafen, which started git and is asked here whether a push may be. When it is gone, nothing may.
exec 3>"/proc/$HAFEN_GATE/fd/$HAFEN_GATE_ASK" 4<"/proc/$HAFEN_GATE/fd/$HAFEN_GATE_ANSWER" || exit 1
{
  echo "objects ${GIT_QUARANTINE_PATH:-}"
  cat
  echo end
} >&3
exec 3>&-
while IFS= read -r line <&4; do
  case $line in
    accept) exit 0 ;;
    refuse) exit 1 ;;
    *) printf '%s\n' "${line#say }" >&2 ;;
  esac
done
echo 'Hafen ended while it looked at this push: push again in a moment.' >&2
exit 1
