# toono under BusyBox init and its own shell and start-stop-daemon: yocto/init/toono.sysv as S60toono, and the line of
# inittab.sample. Boots twice, to the power-off.
# shellcheck shell=sh
set -u
part=busybox
here=$INIT/../../tests/packaging
. "$here/lib.sh"
. "$here/host.sh"
. "$here/image.sh"
tmp=$WORK/tmp.$part
mkdir -p "$tmp"
root=$WORK/root.$part
out=$WORK/out.$part

make_image "$root" busybox_inside.sh
sed -i -e 's|^TOONO_OOM_SCORE_ADJ=.*|TOONO_OOM_SCORE_ADJ="100"|' -e 's|^TOONO_STOP_SECONDS=.*|TOONO_STOP_SECONDS="3"|' \
    "$root/etc/default/toono"
ends 130 "a boot, and a power-off" boot "$root" "-t tmpfs" tmpfs
cat "$out/said" 2>/dev/null
cat "$out/results" >>"$RESULTS"
check "the test came to its end" has_line '^end$' "$out/order"
is "started before the kubelet, stopped after it, with nothing left" "$(grep -v '^end$' "$out/order" | tr '\n' ';')" \
    "kubelet start, the agent listens;kubelet stop, the agent listens;"
check "the boot warns that /data is a tmpfs" has_line 'lost at a reboot' "$out/console"

# Without the script: the line of inittab.sample.
rm -r "$out" "$root/etc/init.d/S60toono"
sed -i -e 's|^#::respawn:|::respawn:|' -e 's|busybox_inside|busybox_respawn|' "$root/etc/inittab"
ends 130 "a boot with the line in inittab, and a power-off" boot "$root" "-t tmpfs" tmpfs
cat "$out/said" 2>/dev/null
cat "$out/results" >>"$RESULTS"
check "the test came to its end" has_line '^end$' "$out/order"
