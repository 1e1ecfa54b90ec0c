# toono under runit: yocto/init/runit.
# shellcheck shell=sh
set -u
part=runit
here=$INIT/../../tests/packaging
. "$here/lib.sh"
. "$here/host.sh"
cover

services=$tmp/services
mkdir -p "$services" "$tmp/toono"
cp -r "$INIT/runit/." "$tmp/toono/"
mkdir -p /etc/default
cp "$INIT/toono.default" /etc/default/toono
echo 'TOONO_OOM_SCORE_ADJ="100"' >>/etc/default/toono
log=/run/log/toono/current
runsvdir -P "$services" >/dev/null 2>&1 &
tree=$!
ln -s "$tmp/toono" "$services/toono"
sv() { command sv "$@"; }
toono=$services/toono

# Who may not start says why, in one line, again and again.
check "no start without the state folder: the log names it" within 15 has_line '"/var/lib/toono"' "$log"
check "... and nothing runs" no_agent
break_config
mkdir /var/lib/toono
check "no start with a broken configuration: the log names it" within 15 has_line '/etc/toono/toono.toml' "$log"
mend_config
check "starts by itself when that is mended" within 15 listens

# Ordinary life.
ends 0 "start" sv -w 15 start "$toono"
check "... returns when the agent listens" listens
ends 0 "status" sv status "$toono"
mentions "... says that it runs" "run: $toono: (pid"
first=$(agent)
rights "$first" 100
is "... and the state folder is its own" "$(stat -c %u /var/lib/toono)" 961
ends 0 "a second start" sv -w 15 start "$toono"
is "... starts no second agent" "$(agent)" "$first"
ends 75 "a second agent on the same state folder" timeout 10 toono agent --config /etc/toono/toono.toml \
    --listen 127.0.0.1:20261 --admin-listen 127.0.0.1:20267
says "... says so in one line" "/var/lib/toono"

# Reload and restart.
check "a connection is open" hold
ends 0 "reload" sv hup "$toono"
check "... is done" within 5 has_line "configuration was read again" "$log"
check "... leaves the connection open" held
is "... and the agent" "$(agent)" "$first"
break_config
# sv itself ends with 0 or 1, as it has seen the agent start long ago or just now.
sv -w 2 restart "$toono" >/dev/null 2>&1
is "a restart with a broken configuration leaves the agent" "$(agent)" "$first"
check "... and the connection" held
check "... and the log names it" within 5 has_line "not restarted" "$log"
mend_config
let_go
ends 0 "restart" sv -w 15 restart "$toono"
check "... is another agent, which listens" within 10 another_than "$first"

# Respawn.
killed=$(agent)
kill -KILL "$killed"
at=$(now)
check "kill -9: another agent" within 20 another_than "$killed"
check "... and not at once" test $(($(now) - at)) -ge 4

# Stop.
break_config
ends 0 "stop, with a broken configuration too" sv -w 10 down "$toono"
mend_config
check "... leaves nothing" no_agent
ends 0 "status" sv status "$toono"
mentions "... says that it is down" "down: $toono"
ends 0 "stop of a stopped one" sv -w 5 down "$toono"

# One that does not end at TERM.
cp /usr/bin/toono "$tmp/real"
stubborn /usr/bin/toono
ends 0 "start of one that will not end" sv -w 15 start "$toono"
at=$(now)
ends 1 "a forced stop of it" sv -w 3 force-stop "$toono"
says "... says that it was killed" "kill: run: $toono"
check "... after the time that it has" test $(($(now) - at)) -ge 3
check "... it is down" within 5 sh -c "sv status '$toono' | grep -q ^down"

# The log is small, and on no flash.
is "the log is on a tmpfs" "$(stat -f -c %T /run/log/toono)" tmpfs
is "... and its size has an end" "$(tr '\n' ' ' </run/log/toono/config)" "s100000 n4 "
kill -HUP "$tree"
