#!/bin/sh
# Checks yocto/: the layer by BitBake's own parser and fetcher, oelint-adv and kas, what recipes and Buildroot install, the lists.
#
#     tests/packaging/layer.sh           a minute or two, of which the first time some for 140 crates; later without the network
#     tests/packaging/layer.sh --build   and builds the recipe's source as core's cargo class does (some minutes more), and as root
#                                        runs the layer's runtime test with that, or with TOONO_BINARY
#
# What it needs beside cargo comes from Debian's packages and from PyPI, these into a folder outside of the checkout.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
TOONO_PACKAGING_CACHE=${TOONO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/toono}/packaging
export TOONO_PACKAGING_CACHE PYTHONDONTWRITEBYTECODE=1
mkdir -p "$TOONO_PACKAGING_CACHE"

missing=
for program in git make shellcheck wget; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
command -v systemd-analyze >/dev/null || missing="$missing systemd"
command -v busybox >/dev/null || missing="$missing busybox-static"
python3 -c 'import ensurepip, tomllib, venv' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086
    apt-get -qq update && apt-get -qq install -y --no-install-recommends $missing >/dev/null
fi

# All of them by version: another linter has other opinions.
wanted="bitbake-setup==2.19.0 oelint-adv==9.11.2 kas==5.5 jsonschema==4.26.0 pyyaml==6.0.4 kconfiglib==14.1.0"
venv=$TOONO_PACKAGING_CACHE/venv
if [ "$(cat "$venv/wanted" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    # shellcheck disable=SC2086
    "$venv/bin/pip" -q --disable-pip-version-check install $wanted
    echo "$wanted" >"$venv/wanted"
fi

failed=0
"$venv/bin/python" "$here/layer.py" || failed=1
if [ "${1:-}" = --build ]; then
    sources=$(echo "$TOONO_PACKAGING_CACHE"/bitbake/tmp/work/toono-[0-9]*/sources)
    recipe=$(echo "$here"/../../yocto/meta-toono/recipes-toono/toono/toono_*.bb)
    flags=$(sed -n "s/^RUSTFLAGS:append:$(uname -m | tr _ -) = \"\(.*\)\"/\1/p" "$recipe")
    "$here/oe_build.sh" "$sources" "$TOONO_PACKAGING_CACHE/oe" "$flags" || failed=1
    if [ "$(id -u)" = 0 ]; then
        "$venv/bin/python" "$here/device.py" "${TOONO_BINARY:-$TOONO_PACKAGING_CACHE/oe/toono}" || failed=1
    fi
fi
exit "$failed"
