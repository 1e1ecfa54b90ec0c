# What can be said of the files of yocto/init without an init system: shells, units, and OpenWrt's procd by what it is told.
# shellcheck shell=sh
set -u
part=scripts
here=$INIT/../../tests/packaging
. "$here/lib.sh"
. "$here/host.sh"
cover
cd "$INIT" || exit 1

for script in toono.sysv toono.openrc toono.procd runit/run runit/check runit/finish runit/control/t runit/log/run s6/run s6/finish \
    s6/log/run; do
    check "$script: shellcheck" shellcheck -s sh "$script"
    # Of `ulimit` it says that it is not in POSIX; it is in every sh on a device.
    check "$script: checkbashisms" sh -c "checkbashisms -f '$script' 2>&1 | grep -A1 '^possible bashism' | grep -v -e ulimit -e ^-- | grep . && exit 1; exit 0"
    check "$script: dash" dash -n "$script"
    check "$script: BusyBox" busybox sh -n "$script"
    check "$script: can be executed" test -x "$script"
done
# Of these: what is set for another file or by one, and what another sh is told.
for script in "$here"/*.sh; do
    if head -1 "$script" | grep -q '^#!'; then continue; fi
    check "tests/packaging/${script##*/}: shellcheck" shellcheck -s sh -e SC1091,SC2016,SC2034,SC2154,SC2209 "$script"
    check "tests/packaging/${script##*/}: BusyBox" busybox sh -n "$script"
done
check "tests/packaging/run: shellcheck" shellcheck "$here/run"
for settings in toono.default toono.confd; do
    check "$settings: sh" sh -n "$settings"
    is "$settings has plain lines only, as systemd reads them" \
        "$(sed 's/^#\(TOONO_\)/\1/' "$settings" | grep -v -e '^#' -e '^$' | grep -cv '^TOONO_[A-Z_]*="[^"$`]*"$')" 0
done
is "toono.confd has what toono.default has" "$(sed -n 's/^#\(TOONO_.*\)/\1/p' toono.confd)" "$(grep ^TOONO_ toono.default)"
is "toono.volatiles has lines of six words" "$(grep -v '^#' toono.volatiles | awk 'NF != 6')" ""

# What some OpenRC fail at.
check "toono.openrc sets no no_new_privs" not grep -q '^ *no_new_privs=' toono.openrc
check "toono.openrc sets no capabilities" not grep -q '^ *capabilities=' toono.openrc
is "toono.openrc sets one limit" "$(grep -c '^rc_ulimit="-n [^ ]*"$' toono.openrc)" 1
check "toono.openrc respawns without a limit" grep -q '^respawn_max=0$' toono.openrc
# What some BusyBox do not have.
check "toono.sysv gives start-stop-daemon short options only" \
    not grep -qE 'start-stop-daemon (-[a-zA-Z] )*--[a-z]' toono.sysv

# The unit.
mkdir -p /run/systemd/system
cp toono.service /run/systemd/system/
ends 0 "toono.service: verify" systemd-analyze verify /run/systemd/system/toono.service
is "... without a word" "$said" ""
check "toono.service: exposure below 2.5" systemd-analyze security --offline=true --threshold=25 /run/systemd/system/toono.service
for line in Type=notify Restart=always RestartSec=5 StartLimitIntervalSec=0 'RestartPreventExitStatus=64 78' TimeoutStopSec=20 \
    WatchdogSec=30 User=toono LimitNOFILE=4096 LimitCORE=0 OOMScoreAdjust=-250 StateDirectory=toono; do
    check "toono.service: $line" grep -qx "$line" toono.service
done
check "toono.service: before the kubelet and containerd" grep -qE '^Before=.*containerd.service.*kubelet.service' toono.service
check "toono.service: waits for no network" not grep -q network-online toono.service

# procd: stubs that print what they are told.
mkdir -p /var/lib/toono /etc/default
cat >"$tmp/procd" <<'STUBS'
procd_open_instance() { echo "open $*"; }
procd_set_param() { echo "set $*"; }
procd_close_instance() { echo close; }
procd_send_signal() { echo "signal $*"; }
stop() { echo stop; }
start() { echo start; }
. "$INIT/toono.procd"
"$@"
STUBS
procd() { sh "$tmp/procd" "$@" 2>/dev/null; }
is "toono.procd: what start tells procd" "$(procd start_service | grep -v warning)" "open 
set command /usr/bin/toono agent --log-to stderr --user toono --config /etc/toono/toono.toml --state-dir /var/lib/toono
set respawn 3600 5 0
set limits nofile=4096 4096 core=0
set term_timeout 20
set reload_signal HUP
set stdout 1
set stderr 1
set pidfile /run/toono.pid
close"
is "toono.procd: settings are used" "$(TOONO_STATE_DIR=/tmp TOONO_ARGS='--flash-cap 8' procd start_service | grep command)" \
    "set command /usr/bin/toono agent --log-to stderr --user toono --config /etc/toono/toono.toml --state-dir /tmp --flash-cap 8"
is "toono.procd: reload" "$(procd reload_service | grep -v warning)" "signal toono * HUP"
break_config
ends 6 "toono.procd: no start with a broken configuration" procd start_service
ends 6 "toono.procd: no reload of one" procd reload_service
ends 6 "toono.procd: no restart with one" procd restart
is "... stops nobody" "$said" ""
mend_config
is "toono.procd: restart" "$(procd restart | grep -v warning | tr '\n' ' ')" "stop start "
rm -r /var/lib/toono
ends 6 "toono.procd: no start without the state folder" procd start_service
TOONO_STATE_MOUNT=/partition ends 6 "toono.procd: no start while the data partition is not mounted" procd start_service
rm /usr/bin/toono
ends 5 "toono.procd: no start without the program" procd start_service
