#!/bin/sh
# Builds the recipe's source as openembedded-core's cargo class does, with this machine's compiler: from the crates that BitBake's
# fetcher laid out and no network, out of the source tree, linked through a wrapper with core's linker flags, not stripped. Then
# holds the binary against what core's package QA holds it against.
#
#     tests/packaging/oe_build.sh SOURCES BUILD [RUSTFLAGS]
#
# SOURCES is what layer_parse.py --unpack made (toono-VERSION and cargo_home), BUILD a folder for what is built, RUSTFLAGS what
# the recipe adds to core's. Some minutes.
set -eu
sources=$(realpath "$1")
mkdir -p "$2"
build=$(realpath "$2")
source=$(echo "$sources"/toono-[0-9]*)
target=$(rustc -vV | sed -n 's/^host: //p')
failed=0
passed=0
check() { # WHAT COMMAND...
    what=$1
    shift
    if said=$("$@" 2>&1); then
        passed=$((passed + 1))
        echo "ok   build: $what"
    else
        failed=$((failed + 1))
        echo "FAIL build: $what: $(echo "$said" | tail -n 1)"
    fi
}

# The linker is one program that adds the flags, and the compiler another.
mkdir -p "$build/wrapper"
printf '#!/bin/sh\nexec gcc "$@" -Wl,-O1 -Wl,--hash-style=gnu -Wl,--as-needed -Wl,-z,relro,-z,now\n' >"$build/wrapper/target-rust-ccld"
printf '#!/bin/sh\nexec gcc "$@"\n' >"$build/wrapper/target-rust-cc"
chmod +x "$build"/wrapper/*

cat >"$sources/cargo_home/config.toml" <<CONFIG
[source.bitbake]
directory = "$sources/cargo_home/bitbake"

[source.crates-io]
replace-with = "bitbake"

[target.$target]
linker = "$build/wrapper/target-rust-ccld"

[build]
target-dir = "$build/target"
CONFIG

maps="-ffile-prefix-map=$sources=/usr/src/debug/toono -ffile-prefix-map=$build=/usr/src/debug/toono"
flags="-O2 -pipe -g -feliminate-unused-debug-types -fstack-protector-strong -D_FORTIFY_SOURCE=2 $maps"
cd "$build"
check "cargo builds from the crates of the list alone, --frozen" env \
    CARGO_HOME="$sources/cargo_home" CARGO_PROFILE_RELEASE_STRIP=none CARGO_INCREMENTAL=0 \
    CC="$build/wrapper/target-rust-cc" TARGET_CC="$build/wrapper/target-rust-cc" TARGET_CFLAGS="$flags" CFLAGS="$flags" \
    RUSTFLAGS="--remap-path-prefix=$sources=/usr/src/debug/toono --remap-path-prefix=$build=/usr/src/debug/toono ${3:-}" \
    nice cargo build -v --frozen --target "$target" --release --manifest-path="$source/Cargo.toml" --bin toono
[ "$failed" = 0 ] || exit 1

binary=$build/target/$target/release/toono
has() { readelf "$1" "$binary" | grep -q "$2"; }
hasnt() { if readelf "$1" "$binary" | grep "$2"; then return 1; fi; }
check "it is not stripped (already-stripped)" has -SW '\.symtab'
check "it is linked with the flags (ldflags)" has -d GNU_HASH
check "no relocation is in its code (textrel)" hasnt -d TEXTREL
check "it has no library path (rpaths)" hasnt -d 'RPATH\|RUNPATH'
check "it names no folder that it was built in (buildpaths)" sh -c "! grep -l -e '$sources' -e '$build' '$binary'"
check "the linker's scripts were read: rare code lies apart" has -SW '\.text\.rare'
check "the source tree is as it was" git -C "$source" diff --exit-code --stat
libraries=$(readelf -d "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort | tr '\n' ' ')
check "it needs the C library and libgcc only ($libraries)" sh -c "! echo '$libraries' | tr ' ' '\n' | grep -v '^libc\.so\|^libgcc_s\.so\|^ld-linux\|^$'"
objcopy --only-keep-debug "$binary" "$build/toono.debug"
strip -o "$build/toono" "$binary"
check "split from its symbols it runs" "$build/toono" version
echo "     stripped: $(stat -c %s "$build/toono") bytes"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
