# What the harnesses run in: this machine's own programs with /etc, /usr/bin, /var/lib and /run covered (OpenRC, runit, s6), so
# that nothing is written outside of the namespace.
# shellcheck shell=sh

# furnish ROOT: the agent as it is installed below ROOT, with a user that has one group too many, its configuration and its
# certificates. Its API server is one that nobody is, unless the harness starts it.
furnish() {
    mkdir -p "$1/etc/toono" "$1/usr/bin"
    echo 'toono:x:961:961:toono:/nonexistent:/sbin/nologin' >>"$1/etc/passwd"
    printf 'toono:x:961:\nsurplus:x:962:toono\n' >>"$1/etc/group"
    install -m 0755 "$TOONO_BINARY" "$1/usr/bin/toono"
    install -m 0644 "$WORK/ca.crt" "$WORK/client.crt" "$1/etc/toono/"
    install -m 0640 -g 961 "$WORK/client.key" "$1/etc/toono/"
    cat >"$1/etc/toono/toono.toml" <<'TOML'
server = "https://127.0.0.1:6443"
ca = "/etc/toono/ca.crt"
cert = "/etc/toono/client.crt"
key = "/etc/toono/client.key"
node-name = "edge"
TOML
}

# cover: lays memory over what the harness and the init system write to.
cover() {
    tmp=$WORK/tmp.$part
    mkdir -p "$tmp" "$WORK/over"
    mount -t tmpfs tmpfs "$WORK/over"
    for folder in etc usr/bin var/lib; do
        mkdir -p "$WORK/over/$folder/up" "$WORK/over/$folder/work"
        mount -t overlay -o "lowerdir=/$folder,upperdir=$WORK/over/$folder/up,workdir=$WORK/over/$folder/work" \
            overlay "/$folder"
    done
    mount -t tmpfs tmpfs /run
    rm -rf /etc/toono /var/lib/toono
    busybox ip link set lo up
    furnish ""
}
