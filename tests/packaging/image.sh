# A root folder of BusyBox and the agent, and its boot with BusyBox init as process 1 of a namespace.
# shellcheck shell=sh

# make_image ROOT TEST: TEST is the script that init runs after the boot, from this folder.
make_image() {
    for folder in bin sbin usr/bin usr/sbin etc/init.d etc/default proc sys dev run tmp data var/lib out tests root; do
        mkdir -p "$1/$folder"
    done
    cp "$(command -v busybox)" "$1/bin/busybox"
    chroot "$1" /bin/busybox --install -s
    echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
    echo 'root:x:0:' >"$1/etc/group"
    furnish "$1"
    # A binary that is not static brings its libraries.
    for library in $(ldd "$TOONO_BINARY" 2>/dev/null | grep -o '/[^ ]*'); do
        mkdir -p "$1$(dirname "$library")"
        cp -L "$library" "$1$library"
    done
    install -m 0755 "$INIT/toono.sysv" "$1/etc/init.d/S60toono"
    sed -e 's|^TOONO_STATE_DIR=.*|TOONO_STATE_DIR="/data/toono"|' -e 's|^TOONO_STATE_MOUNT=.*|TOONO_STATE_MOUNT="/data"|' \
        "$INIT/toono.default" >"$1/etc/default/toono"
    { cat "$INIT/inittab.sample"; echo "::once:/bin/sh /tests/$2"; } >"$1/etc/inittab"
    # As Buildroot has them.
    cat >"$1/etc/init.d/rcS" <<'RC'
#!/bin/sh
for script in /etc/init.d/S??*; do "$script" start; done >>/out/console 2>&1
RC
    cat >"$1/etc/init.d/rcK" <<'RC'
#!/bin/sh
for script in $(ls -r /etc/init.d/S??*); do "$script" stop; done >>/out/console 2>&1
RC
    cat >"$1/etc/init.d/S01log" <<'RC'
#!/bin/sh
[ "$1" = start ] || exit 0
ifconfig lo 127.0.0.1 up
syslogd -O /run/messages
RC
    cat >"$1/etc/init.d/S80kubelet" <<'RC'
#!/bin/sh
if toono wait listening --timeout 0 2>/dev/null; then how=listens; else how="does not listen"; fi
echo "kubelet $1, the agent $how" >>/out/order
RC
    cat >"$1/etc/init.d/S59before" <<'RC'
#!/bin/sh
# Stops just after the agent.
if [ "$1" = stop ] && ps | grep -q '[t]oono agent'; then echo "the agent is left" >>/out/order; fi
if [ "$1" = stop ]; then ls /run/toono.pid >>/out/order 2>/dev/null; fi
RC
    chmod 0755 "$1"/etc/init.d/*
}

# boot ROOT OPTIONS DATA: boots it to its end; 130 is that it powered off. DATA is mounted on /data with OPTIONS, /out is a folder
# that the boot may write its results to. What checks that it is process 1 is what keeps a mistake from stopping this machine.
boot() {
    mkdir -p "$WORK/out.$part"
    # shellcheck disable=SC2016
    timeout -s KILL 100 unshare --mount --pid --fork --kill-child --uts --ipc sh -c '
        [ "$$" = 1 ] || exit 99
        mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/run" && mount -t tmpfs tmpfs "$1/tmp" &&
            mount -t tmpfs tmpfs "$1/dev" && mknod "$1/dev/null" c 1 3 && mknod "$1/dev/console" c 1 3 &&
            mknod "$1/dev/urandom" c 1 9 && chmod 0666 "$1"/dev/* &&
            mount --bind "$4" "$1/out" && mount --bind "$5" "$1/tests" && mount -o ro,remount,bind "$1/tests" || exit 98
        if [ -n "$3" ]; then mount $2 "$3" "$1/data" || exit 97; fi
        exec chroot "$1" /sbin/init' boot "$1" "$2" "$3" "$WORK/out.$part" "$here"
}
