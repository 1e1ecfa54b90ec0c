# toono under s6: yocto/init/s6.
# shellcheck shell=sh
set -u
part=s6
here=$INIT/../../tests/packaging
. "$here/lib.sh"
. "$here/host.sh"
cover

services=$tmp/services
mkdir -p "$services"
cp -r "$INIT/s6" "$services/toono"
# As short as the harness may wait.
is "killed after 20 s" "$(cat "$services/toono/timeout-kill")" 20000
echo 3000 >"$services/toono/timeout-kill"
mkdir -p /etc/default
cp "$INIT/toono.default" /etc/default/toono
echo 'TOONO_OOM_SCORE_ADJ="100"' >>/etc/default/toono
log=/run/log/toono/current
toono=$services/toono
s6-svscan "$services" >"$tmp/svscan" 2>&1 &
tree=$!
up() { s6-svstat -o up "$toono"; }

# Who may not start says why, in one line, again and again; not so for a wrong configuration, which ends it.
check "no start without the state folder: the log names it" within 15 has_line '"/var/lib/toono"' "$log"
check "... and nothing runs" no_agent
mkdir /var/lib/toono
check "starts by itself when that is mended" within 15 listens
s6-svc -wd -T 10000 -d "$toono"
break_config
ends 0 "a start with a broken configuration" s6-svc -u "$toono"
check "... is not tried for ever" within 10 sh -c "s6-svstat -o wantedup,up '$toono' | grep -qx 'false false'"
check "... and the log names it" within 5 has_line '/etc/toono/toono.toml' "$log"
mend_config

# Ordinary life.
ends 0 "start" s6-svc -wU -T 15000 -u "$toono"
check "... returns when the agent listens" listens
is "status" "$(s6-svstat -o up,ready "$toono")" "true true"
first=$(agent)
rights "$first" 100
is "... and the state folder is its own" "$(stat -c %u /var/lib/toono)" 961
ends 0 "a second start" s6-svc -wU -T 15000 -u "$toono"
is "... starts no second agent" "$(agent)" "$first"
ends 75 "a second agent on the same state folder" timeout 10 toono agent --config /etc/toono/toono.toml \
    --listen 127.0.0.1:20261 --admin-listen 127.0.0.1:20267
says "... says so in one line" "/var/lib/toono"

# Reload and restart.
check "a connection is open" hold
ends 0 "reload" s6-svc -h "$toono"
check "... is done" within 5 has_line "configuration was read again" "$log"
check "... leaves the connection open" held
is "... and the agent" "$(agent)" "$first"
break_config
ends 78 "a check before a restart, with a broken configuration" sh -c "cd '$toono' && ./run check && s6-svc -wR -T 15000 -r ."
is "... leaves the agent" "$(agent)" "$first"
mend_config
let_go
ends 0 "a check and a restart" sh -c "cd '$toono' && ./run check >/dev/null && s6-svc -wR -T 15000 -r ."
check "... is another agent, which listens" another_than "$first"

# Respawn.
killed=$(agent)
kill -KILL "$killed"
at=$(now)
check "kill -9: another agent" within 20 another_than "$killed"
check "... and not at once" test $(($(now) - at)) -ge 4

# Stop.
ends 0 "stop" s6-svc -wd -T 10000 -d "$toono"
check "... leaves nothing" no_agent
is "status" "$(up)" false
ends 0 "stop of a stopped one" s6-svc -wd -T 10000 -d "$toono"

# One that does not end at TERM.
cp /usr/bin/toono "$tmp/real"
stubborn /usr/bin/toono
ends 0 "start of one that will not end" s6-svc -wu -T 15000 -u "$toono"
check "... it runs" within 5 test -e /run/stub
at=$(now)
ends 0 "stop of it" s6-svc -wD -T 15000 -d "$toono"
check "... after the time that it has" test $(($(now) - at)) -ge 3
is "... it is down" "$(up)" false

is "the log is on a tmpfs" "$(stat -f -c %T /run/log/toono)" tmpfs
kill "$tree"
