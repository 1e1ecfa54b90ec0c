# The variables that recipes read or add to, with core's values.
CARGO_HOME = "${UNPACKDIR}/cargo_home"
CARGO_VENDORING_DIRECTORY ?= "${CARGO_HOME}/bitbake"
RUST_HOST_SYS = "aarch64-oe-linux-gnu"
CARGO_TARGET_SUBDIR = "${RUST_HOST_SYS}/release"
CARGO_BUILD_FLAGS = "-v --frozen --target ${RUST_HOST_SYS} --release --manifest-path=${S}/Cargo.toml"
