# Assertions and small questions, for the harnesses beside this file. POSIX sh and BusyBox applets only: it also runs inside the
# images. Each check is a line in $RESULTS, "ok ..." or "FAILED ...", which tests/packaging/run counts.
# shellcheck shell=sh
# part, RESULTS and tmp (a folder to write to) are set by who reads this.
# shellcheck disable=SC2154

ok() { echo "ok $part: $*" | tee -a "$RESULTS"; }
failed() {
    echo "FAILED $part: $*" | tee -a "$RESULTS"
    return 0
}

# check WHAT COMMAND...: the command ends with 0.
check() {
    what=$1
    shift
    # Not in a subshell: some commands open descriptors.
    if "$@" >"$tmp/said" 2>&1; then ok "$what"; else failed "$what ($*: $? $(cat "$tmp/said"))"; fi
}

# ends CODE WHAT COMMAND...: the command ends with just this code. What it said is then in $said.
ends() {
    wanted=$1
    what=$2
    shift 2
    said=$("$@" 2>&1 </dev/null)
    code=$?
    if [ "$code" = "$wanted" ]; then ok "$what"; else failed "$what ($*: ended with $code and not with $wanted: $said)"; fi
}

# is WHAT GOT WANTED: two texts are the same.
is() { if [ "$2" = "$3" ]; then ok "$1"; else failed "$1 (it is \"$2\" and not \"$3\")"; fi; }

# says WHAT PATTERN: what the last `ends` heard is one line, and it has this in it.
says() {
    case $said in
        *"$2"*) if [ "$(echo "$said" | wc -l)" -eq 1 ]; then ok "$1"; else failed "$1 (more than one line: $said)"; fi ;;
        *) failed "$1 (it said: $said)" ;;
    esac
}

# mentions WHAT PATTERN: what the last `ends` heard has this in it, among other lines of the init system's own.
mentions() { case $said in *"$2"*) ok "$1" ;; *) failed "$1 (it said: $said)" ;; esac; }

# within SECONDS COMMAND...: the command ends with 0 before that.
within() {
    turns=$(($1 * 10))
    shift
    while ! "$@" >/dev/null 2>&1; do
        [ "$turns" -gt 0 ] || return 1
        turns=$((turns - 1))
        sleep 0.1
    done
}

not() { ! "$@"; }
differs() { [ "$1" != "$2" ]; }

# Seconds since boot, which no clock's change touches.
now() { cut -d. -f1 /proc/uptime; }

# One field of /proc/PID/status, its blanks as one.
field() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status" 2>/dev/null | tr -s '\t ' '  ' | sed 's/ *$//'; }

# The processes that run a program, without the dead.
running_as() {
    for process in /proc/[0-9]*; do
        if [ "$(readlink "$process/exe" 2>/dev/null)" = "$1" ]; then echo "${process#/proc/}"; fi
    done
}

# The agent itself: the one whose child no other is. A supervising parent has the same program.
agent() {
    all=$(running_as /usr/bin/toono)
    for one in $all; do
        for other in $all; do
            if [ "$(field "$other" PPid)" = "$one" ]; then continue 2; fi
        done
        echo "$one"
    done
}

one_agent() { [ "$(agent | wc -w)" -eq 1 ]; }
no_agent() { [ -z "$(running_as /usr/bin/toono)" ]; }
listens() { busybox wget -q -O /dev/null http://127.0.0.1:10267/v1/healthz; }
# Another agent than that with this pid, and it listens.
another_than() { one_agent && [ "$(agent)" != "$1" ] && listens; }
has_line() { grep -q -- "$1" "$2"; }

# What the agent may do, from /proc: $1 its process, $2 its OOM score.
rights() {
    is "runs as its user" "$(field "$1" Uid)" "961 961 961 961"
    is "runs as its group" "$(field "$1" Gid)" "961 961 961 961"
    is "has dropped all other groups" "$(field "$1" Groups)" ""
    is "has no capability" "$(field "$1" CapEff)" "0000000000000000"
    is "may gain none (no_new_privs)" "$(field "$1" NoNewPrivs)" "1"
    is "umask" "$(field "$1" Umask)" "0027"
    is "descriptors" "$(awk '/^Max open files/ { print $4, $5 }' "/proc/$1/limits")" "4096 4096"
    is "no core file" "$(awk '/^Max core file/ { print $5, $6 }' "/proc/$1/limits")" "0 0"
    is "OOM score" "$(cat "/proc/$1/oom_score_adj")" "$2"
}

# hold: opens a connection to the agent and asks once; held: asks again on the same. Both end with 0 when answered.
hold() {
    rm -f "$tmp/ask" "$tmp/answers"
    mkfifo "$tmp/ask"
    busybox nc 127.0.0.1 10267 <"$tmp/ask" >"$tmp/answers" &
    exec 7>"$tmp/ask"
    asked=0
    held
}
held() {
    asked=$((asked + 1))
    printf 'GET /v1/healthz HTTP/1.1\r\nHost: a\r\n\r\n' >&7 || return 1
    within 5 answered "$asked"
}
answered() { [ "$(grep -o 'HTTP/1.1 200' "$tmp/answers" | wc -l)" -eq "$1" ]; }
let_go() { exec 7>&-; }

break_config() { cp /etc/toono/toono.toml "$tmp/whole.toml" && echo 'listen = "nowhere"' >>/etc/toono/toono.toml; }
mend_config() { cp "$tmp/whole.toml" /etc/toono/toono.toml; }

# What stands in for an agent that does not end at TERM, nor what it started: it says that it listens while /run/stub is there.
stubborn() {
    cat >"$1" <<'STUB'
#!/bin/sh
case $1 in
    check) ;;
    wait)
        # Three seconds, or none: --timeout is the last word.
        for last; do :; done
        for _ in 1 2 3; do
            if [ -e /run/stub ]; then exit 0; fi
            if [ "$last" = 0 ]; then exit 1; fi
            sleep 1
        done
        exit 1
        ;;
    agent)
        trap '' TERM HUP
        : >/run/stub
        sleep 4711 &
        while :; do sleep 1; done
        ;;
esac
STUB
    chmod 0755 "$1"
}
