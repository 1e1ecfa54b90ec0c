# Run by BusyBox init inside the image of busybox.sh, once its boot is through.
# shellcheck shell=sh
set -u
part=busybox
RESULTS=/out/results
tmp=/tmp
exec >/out/said 2>&1
. /tests/lib.sh
toono=/etc/init.d/S60toono
log=/run/messages

# After the boot, with no network and no cloud.
check "the boot has started the agent" listens
ends 0 "status" "$toono" status
first=$(agent)
check "one agent runs" one_agent
rights "$first" 100
parent=$(cat /run/toono.pid)
is "its parent has its user too" "$(field "$parent" Uid)" "961 961 961 961"
is "... and is in the pidfile" "$(field "$first" PPid)" "$parent"
is "... whose group is another (start-stop-daemon forks twice)" \
    "$([ "$(awk '{ print $5 }' "/proc/$parent/stat")" = "$parent" ] && echo same || echo another)" another
is "the state folder was made on the data partition, for its user" "$(stat -c '%u %a' /data/toono)" "961 700"
check "it writes to syslog" within 5 has_line 'toono.*listening' "$log"
ends 0 "a second start" "$toono" start
says "... says so" "runs already ($parent)"
is "... starts no second agent" "$(agent)" "$first"
ends 75 "a second agent on the same state folder" timeout 10 toono agent --config /etc/toono/toono.toml \
    --state-dir /data/toono --listen 127.0.0.1:20261 --admin-listen 127.0.0.1:20267
says "... says so in one line" "/data/toono"
ends 2 "an unknown verb" "$toono" dance
says "... shows the known ones" "usage:"

# Reload and restart.
check "a connection is open" hold
ends 0 "reload" "$toono" reload
check "... is done" within 5 has_line 'configuration was read again' "$log"
check "... leaves the connection open" held
is "... and the agent" "$(agent)" "$first"
ends 0 "force-reload" "$toono" force-reload
break_config
ends 6 "no reload of a broken configuration" "$toono" reload
says "... which it names" /etc/toono/toono.toml
ends 6 "no restart with a broken configuration" "$toono" restart
says "... which it names" /etc/toono/toono.toml
is "... leaves the agent" "$(agent)" "$first"
check "... and the connection" held
let_go
mend_config
ends 0 "restart" "$toono" restart
check "... is another agent, which listens" another_than "$first"

# Respawn.
killed=$(agent)
parent=$(cat /run/toono.pid)
kill -KILL "$killed"
at=$(now)
ends 0 "status between the agent's end and its next start" "$toono" status
check "kill -9: another agent" within 20 another_than "$killed"
check "... and not at once" test $(($(now) - at)) -ge 4
is "... of the same parent" "$(cat /run/toono.pid)" "$parent"
check "... which has logged it" has_line 'the agent was killed' "$log"

# The parent killed: no orphan, which the next start would run beside.
kill -KILL "$parent"
check "kill -9 of the parent: the agent dies as well" within 5 no_agent
ends 1 "status: dead with its pidfile left" "$toono" status
ends 0 "start after that" "$toono" start
check "... is one agent" one_agent

# Stop.
ends 0 "stop" "$toono" stop
check "... leaves nothing" no_agent
check "... and no pidfile" not test -e /run/toono.pid
ends 3 "status" "$toono" status
ends 0 "stop of a stopped one" "$toono" stop
ends 7 "reload of a stopped one" "$toono" reload
ends 0 "try-restart of a stopped one" "$toono" try-restart
check "... starts nothing" no_agent

# A pidfile that names somebody else.
sleep 4712 &
echo $! >/run/toono.pid
ends 1 "status with another program's pid in the pidfile" "$toono" status
ends 0 "stop" "$toono" stop
check "... leaves that program alone" kill -0 $!
kill $!

# Who may not start says why, in one line, and nothing runs.
break_config
ends 6 "no start with a broken configuration" "$toono" start
says "... which it names" /etc/toono/toono.toml
mend_config
mv /usr/bin/toono /usr/bin/elsewhere
ends 5 "no start without the program" "$toono" start
says "... which it names" "/usr/bin/toono is not there"
mv /usr/bin/elsewhere /usr/bin/toono
sed -i 's|^TOONO_STATE_MOUNT=.*|TOONO_STATE_MOUNT=""|; s|^TOONO_STATE_DIR=.*|TOONO_STATE_DIR="/nowhere"|' /etc/default/toono
ends 6 "no start without the state folder" "$toono" start
says "... which it names" /nowhere
check "... and does not make it" not test -e /nowhere
sed -i 's|^TOONO_STATE_MOUNT=.*|TOONO_STATE_MOUNT="/partition"|' /etc/default/toono
ends 6 "no start while the data partition is not mounted" "$toono" start
says "... which it names" "/partition is not mounted"
sed -i 's|^TOONO_STATE_MOUNT=.*|TOONO_STATE_MOUNT="/data"|; s|^TOONO_STATE_DIR=.*|TOONO_STATE_DIR="/data/toono"|' /etc/default/toono
chmod 0600 /etc/toono/client.key
ends 6 "no start with a key that the agent's user may not read" "$toono" start
says "... which it names" /etc/toono/client.key
chmod 0640 /etc/toono/client.key
check "nothing runs after all of this" no_agent
check "... and there is no pidfile" not test -e /run/toono.pid

# An agent that somebody started by hand.
toono agent --config /etc/toono/toono.toml --user toono --state-dir /data/toono >/dev/null 2>&1 &
by_hand=$!
within 10 listens
ends 1 "no start beside an agent that somebody started by hand" "$toono" start
mentions "... which it says" "not started here"
kill "$by_hand"
wait "$by_hand"

# A score that this machine lets nobody have, or that does: no matter. Nor does a limit.
sed -i -e 's|^TOONO_OOM_SCORE_ADJ=.*|TOONO_OOM_SCORE_ADJ="-250"|' -e 's|^TOONO_NOFILE=.*|TOONO_NOFILE="9999999999"|' /etc/default/toono
ends 0 "start with an OOM score and a limit that may not be had" "$toono" start
check "... listens" listens

# One that hangs, agent and parent.
kill -STOP "$(agent)" "$(cat /run/toono.pid)"
at=$(now)
ends 0 "stop of one that hangs" "$toono" stop
check "... after the time that it has" test $(($(now) - at)) -ge 3
check "... leaves nothing" no_agent

# One that does not end at TERM, and has started others.
cp /usr/bin/toono /tmp/real
stubborn /usr/bin/toono
ends 0 "start of one that will not end" "$toono" start
ends 0 "status" "$toono" status
at=$(now)
ends 0 "stop of it" "$toono" stop
check "... after the time that it has" test $(($(now) - at)) -ge 3
check "... leaves nothing of its group" within 5 not pgrep -f 'sleep 4711'
check "... and no pidfile" not test -e /run/toono.pid
cp /tmp/real /usr/bin/toono

# For the power-off.
ends 0 "start" "$toono" start
echo end >>/out/order
if [ "$(cat /proc/1/comm)" = init ] && [ -d /tests ]; then poweroff; fi
