SUMMARY = "Lets the kubelet ask the toono agent of its node"
DESCRIPTION = "A kubeconfig for http://127.0.0.1:10261 and a drop-in of the kubelet's unit that names it and orders the kubelet after \
the agent. The kubelet's own package is not changed."
SECTION = "net"
MAINTAINER = "toono maintainers <maintainers@toono.example>"
CVE_PRODUCT = "toono"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

require recipes-toono/toono/toono-source.inc

# The drop-in is systemd's.
inherit features_check
REQUIRED_DISTRO_FEATURES = "systemd"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${sysconfdir}/kubernetes ${D}${systemd_system_unitdir}/kubelet.service.d
    install -m 0644 ${S}/yocto/kubelet/toono.kubeconfig ${D}${sysconfdir}/kubernetes/toono.kubeconfig
    install -m 0644 ${S}/yocto/kubelet/50-toono.conf ${D}${systemd_system_unitdir}/kubelet.service.d/50-toono.conf
}

FILES:${PN} += "${systemd_system_unitdir}/kubelet.service.d"
CONFFILES:${PN} = "${sysconfdir}/kubernetes/toono.kubeconfig"
RDEPENDS:${PN} = "kubelet toono"
