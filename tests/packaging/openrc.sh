# toono under OpenRC with supervise-daemon: yocto/init/toono.openrc and toono.confd.
# shellcheck shell=sh
set -u
part=openrc
here=$INIT/../../tests/packaging
. "$here/lib.sh"
. "$here/host.sh"
cover

# OpenRC as after a boot, with our service and stubs of those it is ordered by: Debian has no localmount of OpenRC's.
for folder in exclusive starting started stopping inactive wasinactive failed hotplugged scheduled daemons options tmp; do
    mkdir -p "/run/openrc/$folder"
done
echo default >/run/openrc/softlevel
mount -t tmpfs tmpfs /etc/init.d
mount -t tmpfs tmpfs /etc/runlevels
ln -s /lib/rc/sh/functions.sh /etc/init.d/functions.sh
mkdir -p /etc/runlevels/default /etc/runlevels/boot /etc/conf.d
install -m 0755 "$INIT/toono.openrc" /etc/init.d/toono
install -m 0644 "$INIT/toono.confd" /etc/conf.d/toono
cat >>/etc/conf.d/toono <<'CONF'
TOONO_OOM_SCORE_ADJ="100"
TOONO_STOP_SECONDS="3"
CONF
stub() {
    printf '#!/sbin/openrc-run\ndepend() { %s; }\nstart() { %s; }\nstop() { %s; }\n' "$2" "$3" "$4" >"/etc/init.d/$1"
    chmod 0755 "/etc/init.d/$1"
}
order=$tmp/order
stub localmount : "echo localmount >>$order" :
stub net "provide net" "echo net >>$order; return 1" :
stub containerd "need localmount" "echo containerd, the agent \$(listening) >>$order" "echo containerd stops >>$order"
stub kubelet "need localmount" "echo kubelet, the agent \$(listening) >>$order" "echo kubelet stops, the agent \$(listening) >>$order"
for service in containerd kubelet; do
    echo 'listening() { if toono wait listening --timeout 0 2>/dev/null; then echo listens; else echo does not listen; fi; }' \
        >>"/etc/init.d/$service"
done
for service in localmount net toono kubelet containerd; do ln -s "/etc/init.d/$service" /etc/runlevels/default/; done

service() { rc-service toono "$@"; }
ends 3 "status of one that was never started" service status
ends 0 "stop of one that was never started" service stop

# Who may not start says why, and nothing runs.
ends 1 "no start without the state folder" service start
mentions "... which it names" '"/var/lib/toono"'
mkdir /var/lib/toono
break_config
ends 1 "no start with a broken configuration" service start
mentions "... which it names" "/etc/toono/toono.toml"
mend_config
mv /usr/bin/toono /usr/bin/elsewhere
ends 1 "no start without the program" service start
mentions "... which it names" "/usr/bin/toono is not there"
mv /usr/bin/elsewhere /usr/bin/toono
echo 'TOONO_STATE_MOUNT="/data"' >>/etc/conf.d/toono
ends 1 "no start while the data partition is not mounted" service start
mentions "... which it names" "/data is not mounted"
sed -i /STATE_MOUNT/d /etc/conf.d/toono
check "nothing runs after all of this" no_agent
ends 3 "... and the status says so" service status

# Ordinary life. The state folder and what is in it belong to root here: an agent ran before that was root.
head -c 32 /dev/urandom >/var/lib/toono/seal.key
chmod 0600 /var/lib/toono/seal.key
ends 0 "start" service start
check "... returns when the agent listens" listens
is "... with the state folder owned by the agent's user" "$(stat -c %u /var/lib/toono)" 961
is "... and what is in it" "$(stat -c %u /var/lib/toono/seal.key)" 961
ends 0 "status" service status
first=$(agent)
check "one agent runs" one_agent
rights "$first" 100
ends 0 "a second start" service start
is "... starts no second agent" "$(agent)" "$first"
check "the pidfile holds the supervisor, not the agent (so HUP goes through it)" \
    differs "$(cat /run/toono.pid)" "$first"
is "... which is supervise-daemon" "$(cat "/proc/$(cat /run/toono.pid)/comm")" "supervise-daemo"
ends 75 "a second agent on the same state folder" timeout 10 toono agent --config /etc/toono/toono.toml \
    --listen 127.0.0.1:20261 --admin-listen 127.0.0.1:20267
says "... says so in one line" "/var/lib/toono"

# Reload and restart.
check "a connection is open" hold
ends 0 "reload" service reload
check "... leaves the connection open" held
is "... and the agent" "$(agent)" "$first"
break_config
ends 1 "no reload of a broken configuration" service reload
mentions "... which it names" "/etc/toono/toono.toml"
ends 1 "no restart with a broken configuration" service restart
mentions "... which it names" "/etc/toono/toono.toml"
is "... leaves the agent" "$(agent)" "$first"
check "... and the connection" held
let_go
mend_config
ends 0 "restart" service restart
check "... is another agent, which listens" another_than "$first"

# Respawn, for ever: at `respawn_max` nobody would start it again.
tr '\0' ' ' <"/proc/$(cat /run/toono.pid)/cmdline" >"$tmp/supervisor"
check "respawned without a limit" has_line '--respawn-max 0 ' "$tmp/supervisor"
for turn in 1 2; do
    killed=$(agent)
    kill -KILL "$killed"
    at=$(now)
    check "kill -9, turn $turn: another agent" within 20 another_than "$killed"
    check "... and not at once" test $(($(now) - at)) -ge 4
done
ends 0 "... and the status is still that it runs" service status

# Stop.
ends 0 "stop" service stop
check "... leaves nothing" no_agent
check "... and no pidfile" not test -e /run/toono.pid
ends 3 "status" service status
ends 0 "stop of a stopped one" service stop
ends 1 "reload of a stopped one" service reload
ends 0 "try-restart of a stopped one" rc-service --ifstarted toono restart
check "... starts nothing" no_agent

# An agent that somebody started by hand.
toono agent --config /etc/toono/toono.toml --user toono >"$tmp/by-hand" 2>&1 &
by_hand=$!
within 10 listens
ends 1 "no start beside an agent that somebody started by hand" service start
mentions "... which it says" "not started here"
kill "$by_hand"
wait "$by_hand"

# A score that this machine lets nobody have (it has no CAP_SYS_RESOURCE), or that does: no matter.
sed -i /OOM_SCORE_ADJ/d /etc/conf.d/toono
ends 0 "start with the negative OOM score of the default" service start
check "... listens" listens
ends 0 "stop" service stop

# One that does not end at TERM.
cp /usr/bin/toono "$tmp/real"
stubborn /usr/bin/toono
ends 0 "start of one that will not end" service start
at=$(now)
ends 0 "stop of it" service stop
check "... after the time that it has" test $(($(now) - at)) -ge 3
check "... and not much later" test $(($(now) - at)) -le 8
check "... leaves nothing of its group" within 5 not pgrep -f 'sleep 4711'
cp "$tmp/real" /usr/bin/toono
rm -f /run/stub

# A boot: before the kubelet, whatever the network does; the kubelet starts without it as well.
rc-service localmount stop >/dev/null 2>&1
: >"$order"
ends 0 "a boot" openrc default
is "... in the order" "$(tr '\n' ';' <"$order")" \
    "localmount;net;containerd, the agent listens;kubelet, the agent listens;"
check "... rc-status shows it" sh -c 'rc-status default | grep -q "toono.*started"'
: >"$order"
rc-service toono stop >/dev/null 2>&1
rc-service kubelet stop >/dev/null 2>&1
break_config
: >"$order"
openrc default >/dev/null 2>&1
check "the kubelet starts although the agent could not" has_line "kubelet, the agent does not listen" "$order"
mend_config
