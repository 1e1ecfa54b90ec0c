SUMMARY = "Firmware of an edge node: read-only root in two slots, one partition for data"
DESCRIPTION = "The smallest image that boots to a running toono agent: BusyBox and the machine's init on a squashfs, and an ext4 partition \
that holds the agent's state over reboots and firmware updates. The place to start an image of one's own from."
LICENSE = "Apache-2.0"

require recipes-toono/toono/toono-settings.inc

inherit core-image

IMAGE_INSTALL = "packagegroup-core-boot toono ${CORE_IMAGE_EXTRA_INSTALL}"
IMAGE_LINGUAS = ""
IMAGE_FEATURES += "read-only-rootfs"
IMAGE_FSTYPES = "squashfs-xz wic"

# With a read-only root /var/lib lies on a tmpfs: what an agent keeps there is gone at the next boot, which is what it keeps it
# for. So the image, not the package, says where the state lies.
TOONO_STATE_MOUNT ?= "/data"
TOONO_STATE_DIR ?= "${TOONO_STATE_MOUNT}/toono"
# By the kernel's name: file systems are mounted before udev has made its links, and BusyBox knows no labels.
TOONO_DATA_DEVICE ?= "/dev/mmcblk0p4"
TOONO_DATA_DEVICE:qemuall ?= "/dev/vda4"

# By its path: wrynose and later look in files/wic, scarthgap in wic.
WKS_FILE ?= "${THISDIR}/../../files/wic/toono-ab.wks"
# The line in fstab is the image's own, and is there without wic too.
WIC_CREATE_EXTRA_ARGS = "--no-fstab-update"
# What the bootloader of the machine loads, if the machine says nothing else.
IMAGE_BOOT_FILES ?= "${KERNEL_IMAGETYPE}"
# nooelint: oelint.vars.mispell.unknown - runqemu's
QB_KERNEL_ROOT = "PARTLABEL=root-a"

toono_data_partition() {
    install -d -m 0755 ${IMAGE_ROOTFS}${TOONO_STATE_MOUNT}
    # Owned by the agent on the partition as it leaves the factory; later the service sees to it.
    install -d -m 0700 -o ${TOONO_UID} -g ${TOONO_GID} ${IMAGE_ROOTFS}${TOONO_STATE_DIR}
    # nofail: without the partition the node still boots, and the agent says why it does not start.
    printf '%s %s ext4 noatime,nodev,nosuid,noexec,nofail 0 0\n' '${TOONO_DATA_DEVICE}' '${TOONO_STATE_MOUNT}' \
        >> ${IMAGE_ROOTFS}${sysconfdir}/fstab
    toono_say_state ${IMAGE_ROOTFS}
}
ROOTFS_POSTPROCESS_COMMAND += "toono_data_partition"
