include $(sort $(wildcard $(BR2_EXTERNAL_TOONO_PATH)/package/*/*.mk))
