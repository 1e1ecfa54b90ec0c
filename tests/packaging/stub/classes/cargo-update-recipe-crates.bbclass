CARGO_LOCK_SRC_DIR ??= "${S}"
do_update_crates() {
    :
}
addtask update_crates after do_patch
