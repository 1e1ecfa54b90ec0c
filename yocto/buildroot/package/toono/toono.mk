################################################################################
#
# toono
#
################################################################################

# The repository that this tree lies in, at the commit that is checked out.
TOONO_SITE = file://$(realpath $(BR2_EXTERNAL_TOONO_PATH)/../..)
TOONO_SITE_METHOD = git
TOONO_VERSION := $(shell git -C $(BR2_EXTERNAL_TOONO_PATH) rev-parse HEAD)
# The archive is another with each commit. What is in it is checked all the same: the source by git, the crates by Cargo.lock.
BR_NO_CHECK_HASH_FOR += $(TOONO_SOURCE)
TOONO_LICENSE = Apache-2.0
TOONO_LICENSE_FILES = LICENSE

TOONO_STATE_DIR = $(call qstrip,$(BR2_PACKAGE_TOONO_STATE_DIR))
TOONO_STATE_MOUNT = $(call qstrip,$(BR2_PACKAGE_TOONO_STATE_MOUNT))

# Buildroot sets a release profile of its own, by its options for size, speed and debugging: without LTO, in 16 units, and without
# the checks of overflows. This is the profile of Cargo.toml again: 2.2 MB on x86_64 instead of 3.7.
TOONO_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_OPT_LEVEL=z \
	CARGO_PROFILE_RELEASE_LTO=fat \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
	CARGO_PROFILE_RELEASE_PANIC=abort \
	CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true

TOONO_CARGO_BUILD_OPTS = --bin toono
TOONO_CARGO_INSTALL_OPTS = --bin toono

# Fixed: the data partition outlives the firmware.
define TOONO_USERS
	toono 961 toono 961 * - - - Kubernetes edge hub
endef

ifeq ($(TOONO_STATE_MOUNT),)
define TOONO_INSTALL_STATE
	$(INSTALL) -d -m 0700 $(TARGET_DIR)$(TOONO_STATE_DIR)
endef

define TOONO_PERMISSIONS
	$(TOONO_STATE_DIR) d 0700 961 961 - - - - -
endef
else
# systemd locks away all that its unit does not name.
define TOONO_INSTALL_STATE_UNIT
	mkdir -p $(TARGET_DIR)/usr/lib/systemd/system/toono.service.d
	{ \
		printf '[Unit]\nRequiresMountsFor=%s\n\n' '$(TOONO_STATE_MOUNT)'; \
		printf '[Service]\nReadWritePaths=-%s\n' '$(TOONO_STATE_DIR)'; \
		printf 'ExecStartPre=\nExecStartPre=+/bin/sh -c "[ -d %s ] || { mkdir -m 0700 %s && chown toono:toono %s; }"\n' \
			'$(TOONO_STATE_DIR)' '$(TOONO_STATE_DIR)' '$(TOONO_STATE_DIR)'; \
		grep '^ExecStartPre=' $(@D)/yocto/init/toono.service; \
	} > $(TARGET_DIR)/usr/lib/systemd/system/toono.service.d/50-state.conf
endef
endif

define TOONO_INSTALL_SETTINGS
	$(INSTALL) -D -m 0644 $(@D)/yocto/toono.toml $(TARGET_DIR)/etc/toono/toono.toml
	$(INSTALL) -D -m 0644 $(@D)/yocto/init/toono.default $(TARGET_DIR)/etc/default/toono
	$(SED) 's|^TOONO_STATE_DIR=.*|TOONO_STATE_DIR="$(TOONO_STATE_DIR)"|' \
		-e 's|^TOONO_STATE_MOUNT=.*|TOONO_STATE_MOUNT="$(TOONO_STATE_MOUNT)"|' \
		$(TARGET_DIR)/etc/default/toono
	$(TOONO_INSTALL_STATE)
endef
TOONO_POST_INSTALL_TARGET_HOOKS += TOONO_INSTALL_SETTINGS

define TOONO_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/yocto/init/toono.sysv $(TARGET_DIR)/etc/init.d/S60toono
endef

define TOONO_INSTALL_INIT_OPENRC
	$(INSTALL) -D -m 0755 $(@D)/yocto/init/toono.openrc $(TARGET_DIR)/etc/init.d/toono
	$(INSTALL) -D -m 0644 $(@D)/yocto/init/toono.confd $(TARGET_DIR)/etc/conf.d/toono
	$(SED) 's|^#*TOONO_STATE_DIR=.*|TOONO_STATE_DIR="$(TOONO_STATE_DIR)"|' \
		-e 's|^#*TOONO_STATE_MOUNT=.*|TOONO_STATE_MOUNT="$(TOONO_STATE_MOUNT)"|' \
		$(TARGET_DIR)/etc/conf.d/toono
endef

define TOONO_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/yocto/init/toono.service $(TARGET_DIR)/usr/lib/systemd/system/toono.service
	$(TOONO_INSTALL_STATE_UNIT)
endef

$(eval $(cargo-package))
