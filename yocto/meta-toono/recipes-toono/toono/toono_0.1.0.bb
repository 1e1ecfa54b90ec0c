SUMMARY = "Kubernetes hub of a small edge node"
DESCRIPTION = "toono agent stands between a node's components (kubelet, kube-proxy, pods) and a kube-apiserver behind a bad line: \
it forwards what they ask, filters lists and watches, mirrors them to flash, and answers itself when the line is cut or the node \
boots without it."
SECTION = "net"
MAINTAINER = "toono maintainers <maintainers@toono.example>"
CVE_PRODUCT = "toono"
# The crates' own are added by toono-licenses.inc.
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

require toono-settings.inc
require toono-source.inc
require ${BPN}-crates.inc
require ${BPN}-licenses.inc

inherit cargo cargo-update-recipe-crates ptest-cargo useradd systemd update-rc.d

# The folder that is written: on flash, never on a tmpfs. With a read-only root /var/lib is one (core's hook lays a tmpfs over it),
# so an image with a data partition sets both, as toono-image does. The mount point is what the service waits for.
TOONO_STATE_DIR ?= "${localstatedir}/lib/toono"
TOONO_STATE_MOUNT ?= ""

CARGO_BUILD_FLAGS += "--bin toono"
# Debug information is split off by do_package; a binary that comes stripped is refused by its QA. The rest of the release profile
# (opt-level z, fat LTO, one unit, abort) is ours as it is. The linker scripts of cross/build.rs are added to the linker's own
# and need nothing here.
export CARGO_PROFILE_RELEASE_STRIP = "none"
# Where the linker is named cross/build.rs leaves this to whoever names it. The C library of every supported series unpacks them.
RUSTFLAGS:append:x86-64 = " -Clink-arg=-Wl,-z,pack-relative-relocs"

INITSCRIPT_NAME = "toono"
# Before a kubelet at the usual 80 to 99, and stopped after it.
INITSCRIPT_PARAMS = "start 60 2 3 4 5 . stop 40 0 1 6 ."
SYSTEMD_SERVICE:${PN} = "toono.service"

USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system --gid ${TOONO_GID} toono"
USERADD_PARAM:${PN} = "--system --uid ${TOONO_UID} --gid toono --no-create-home --home-dir ${TOONO_STATE_DIR} --shell /sbin/nologin toono"

do_install() {
    cargo_do_install

    install -d ${D}${sysconfdir}/toono ${D}${sysconfdir}/default ${D}${sysconfdir}/init.d ${D}${systemd_system_unitdir}
    install -m 0644 ${S}/yocto/toono.toml ${D}${sysconfdir}/toono/toono.toml
    install -m 0644 ${S}/yocto/init/toono.default ${D}${sysconfdir}/default/toono

    # The classes take away what the image's init does not read.
    install -m 0755 ${S}/yocto/init/toono.sysv ${D}${sysconfdir}/init.d/toono
    install -m 0644 ${S}/yocto/init/toono.service ${D}${systemd_system_unitdir}/toono.service
    if ${@bb.utils.contains('DISTRO_FEATURES', 'sysvinit', 'true', 'false', d)}; then
        install -d ${D}${sysconfdir}/default/volatiles
        install -m 0644 ${S}/yocto/init/toono.volatiles ${D}${sysconfdir}/default/volatiles/50_toono
    fi
    toono_say_state ${D}
    # On a partition that is mounted later it is made at the first start.
    if [ -z "${TOONO_STATE_MOUNT}" ]; then
        install -d -m 0700 ${D}${TOONO_STATE_DIR}
    fi
}

FILES:${PN} += "${TOONO_STATE_DIR} ${systemd_system_unitdir}/toono.service.d"

CONFFILES:${PN} = "${sysconfdir}/toono/toono.toml ${sysconfdir}/default/toono"

# Tests are built with features that only they need, and the agent with them, in the same folder: after it was installed.
# nooelint: oelint.task.addnotaskbody - the class has it
addtask compile_ptest_cargo after do_install before do_compile_ptest_base

# On the device the unit tests are run. The integration tests start the agent of the folder it was built in: they are built,
# which proves that they compile for it, and left out; lib/oeqa tests the running service.
python toono_ptest_units() {
    built = os.path.join(d.getVar('B'), 'target', d.getVar('CARGO_TARGET_SUBDIR'), 'toono').encode()
    listed = d.getVar('CARGO_TEST_BINARIES_FILES')
    units = []
    with open(listed) as lines:
        for path in lines.read().split():
            with open(path, 'rb') as binary:
                if built not in binary.read():
                    units.append(path)
    if not units:
        bb.fatal('every test binary of toono names the folder it was built in')
    with open(listed, 'w') as lines:
        lines.write(''.join(path + '\n' for path in units))
}
do_compile_ptest_cargo[postfuncs] += "toono_ptest_units"

# update_crates reads every Cargo.lock that it finds; the one of tests/e2e is of a program that is never on a device.
CARGO_LOCK_SRC_DIR = "${WORKDIR}/lock"
do_update_crates[cleandirs] += "${CARGO_LOCK_SRC_DIR}"
do_update_crates[prefuncs] += "toono_lock"
toono_lock() {
    cp ${S}/Cargo.lock ${CARGO_LOCK_SRC_DIR}/
}
