# Run by BusyBox init inside the image of readonly.sh: /out says which boot it is.
# shellcheck shell=sh
set -u
part=readonly
RESULTS=/out/results
tmp=/tmp
exec >/out/said 2>&1
. /tests/lib.sh

# As a kubelet asks: what Wget and browsers ask is not mirrored.
list() { wget -q -U kubelet -O /tmp/list "http://127.0.0.1:10261/api/v1/configmaps"; }
items() { grep -o '"name": *"item-[0-9]*"' /tmp/list | sort -u | wc -l; }

check "the root is read-only" not touch /etc/written
if [ -e /out/third ]; then
    check "no agent" no_agent
elif [ -e /out/second ]; then
    check "the agent listens, with no cloud" listens
    check "the list is answered" list
    is "... with all that was there before the power cut" "$(items)" 20
    ends 1 "what was never asked for is not" wget -q -U kubelet -O /dev/null http://127.0.0.1:10261/api/v1/secrets
    mentions "... but refused" 503
else
    check "the agent listens" listens
    check "... and is ready" toono wait ready --timeout 20
    is "the state folder is its user's" "$(stat -c '%u %a' /data/toono)" "961 700"
    check "a list comes from the cloud" list
    is "... whole" "$(items)" 20
    # Config maps are synced within half a second.
    sleep 2
    : >/out/cut-here
    # Nobody says goodbye.
    sleep 100
fi

echo end >>/out/order
if [ "$(cat /proc/1/comm)" = init ] && [ -d /tests ]; then poweroff; fi
