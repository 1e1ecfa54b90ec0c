# The script of sysvinit with this machine's sh (dash) and start-stop-daemon (dpkg's): yocto/init/toono.sysv. More of it is run
# with BusyBox's, by busybox.sh.
# shellcheck shell=sh
set -u
part=sysv
here=$INIT/../../tests/packaging
. "$here/lib.sh"
. "$here/host.sh"
cover
install -m 0755 "$INIT/toono.sysv" /etc/init.d/toono
sed -e 's|^TOONO_OOM_SCORE_ADJ=.*|TOONO_OOM_SCORE_ADJ="100"|' -e 's|^TOONO_STOP_SECONDS=.*|TOONO_STOP_SECONDS="3"|' \
    "$INIT/toono.default" >/etc/default/toono
toono=/etc/init.d/toono

ends 6 "no start without the state folder" "$toono" start
says "... which it names" /var/lib/toono
mkdir /var/lib/toono
ends 0 "start" "$toono" start
check "... returns when the agent listens" listens
first=$(agent)
rights "$first" 100
ends 0 "status" "$toono" status
ends 0 "a second start" "$toono" start
is "... starts no second agent" "$(agent)" "$first"
hold
ends 0 "reload" "$toono" reload
check "... leaves the connection open" held
let_go
break_config
ends 6 "no restart with a broken configuration" "$toono" restart
says "... which it names" /etc/toono/toono.toml
is "... leaves the agent" "$(agent)" "$first"
mend_config
ends 0 "restart" "$toono" restart
check "... is another agent, which listens" another_than "$first"
# What an update does: another file at the program's place.
cp /usr/bin/toono "$tmp/new"
mv "$tmp/new" /usr/bin/toono
ends 0 "status after the program's file was replaced" "$toono" status
ends 0 "stop after that" "$toono" stop
is "... leaves nothing" "$(pgrep -f 'toono agent')" ""
ends 3 "status" "$toono" status
ends 7 "reload of a stopped one" "$toono" reload
cp /usr/bin/toono "$tmp/real"
stubborn /usr/bin/toono
ends 0 "start of one that will not end" "$toono" start
at=$(now)
ends 0 "stop of it" "$toono" stop
check "... after the time that it has" test $(($(now) - at)) -ge 3
check "... leaves nothing of its group" within 5 not pgrep -f 'sleep 4711'
cp "$tmp/real" /usr/bin/toono
