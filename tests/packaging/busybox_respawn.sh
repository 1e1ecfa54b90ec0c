# Run by BusyBox init inside the image of busybox.sh, which starts the agent itself.
# shellcheck shell=sh
part=busybox
RESULTS=/out/results
tmp=/tmp
exec >/out/said 2>&1
. /tests/lib.sh

check "init starts the agent" within 10 listens
first=$(agent)
is "... as its user" "$(field "$first" Uid)" "961 961 961 961"
kill -KILL "$first"
check "kill -9 of the agent: another one" within 20 another_than "$first"
second=$(agent)
kill -KILL "$(field "$second" PPid)"
check "kill -9 of its parent: another one" within 20 another_than "$second"
check "... and no second one" one_agent

echo end >>/out/order
if [ "$(cat /proc/1/comm)" = init ] && [ -d /tests ]; then poweroff; fi
