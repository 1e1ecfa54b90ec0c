# A firmware: squashfs root, read-only, and an ext4 data partition, booted by BusyBox init. Once with a cloud, until the power is
# cut; then from what the partition held at that moment, with no cloud; then without the partition.
# shellcheck shell=sh
set -u
part=readonly
here=$INIT/../../tests/packaging
. "$here/lib.sh"
. "$here/host.sh"
. "$here/image.sh"
tmp=$WORK/tmp.$part
out=$WORK/out.$part
mkdir -p "$tmp" "$WORK/ro"
busybox ip link set lo up

make_image "$WORK/root.$part" readonly_inside.sh
mksquashfs "$WORK/root.$part" "$WORK/root.sq" -comp xz -noappend -quiet -no-progress
mount -o ro,loop -t squashfs "$WORK/root.sq" "$WORK/ro"
truncate -s 32M "$WORK/data.img"
mkfs.ext4 -q "$WORK/data.img"
power_cut() { [ -e "$out/cut-here" ]; }
took() { # A boot's answers.
    cat "$out/said"
    cat "$out/results" >>"$RESULTS"
}

python3 "$here/cloud.py" 6443 "$WORK/server.crt" "$WORK/server.key" >"$tmp/cloud" 2>&1 &
cloud=$!
mkdir -p "$out"
boot "$WORK/ro" "-t ext4 -o loop,noatime" "$WORK/data.img" &
device=$!
check "a boot with the cloud came to the power cut" within 60 power_cut
# What the flash holds at that moment; what the kernel has not written yet is lost.
cp --sparse=always "$WORK/data.img" "$WORK/cut.img"
pkill -KILL -P "$(pgrep -P "$device" -x timeout || echo "$device")"
wait "$device"
took
check "the boot did not complain of its state folder" not has_line 'lost at a reboot' "$out/console"
kill "$cloud"

rm -r "$out"
mkdir -p "$out"
: >"$out/second"
fsck.ext4 -p "$WORK/cut.img" >"$tmp/fsck" 2>&1
check "the data partition is mended by its journal alone" test $? -le 1
ends 130 "a boot after the power cut, with no cloud" boot "$WORK/ro" "-t ext4 -o loop,noatime" "$WORK/cut.img"
took
check "... came to its end" has_line '^end$' "$out/order"

rm -r "$out"
mkdir -p "$out"
: >"$out/third"
ends 130 "a boot without the data partition" boot "$WORK/ro" "" ""
took
check "... came to its end" has_line '^end$' "$out/order"
check "... says why there is no agent" has_line '/data is not mounted' "$out/console"
check "... and started the kubelet all the same" has_line 'kubelet start, the agent does not listen' "$out/order"
