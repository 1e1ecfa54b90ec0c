# Tasks in the order that core has them; they do nothing.
do_fetch() {
    :
}
do_unpack() {
    :
}
do_patch() {
    :
}
do_configure() {
    :
}
do_compile() {
    :
}
do_install() {
    :
}
do_package() {
    :
}
addtask fetch
addtask unpack after do_fetch
addtask patch after do_unpack
addtask configure after do_patch
addtask compile after do_configure
addtask install after do_compile
addtask package after do_install
# What core's tasks depend on.
do_fetch[vardeps] += "SRC_URI SRCREV"
do_compile[vardeps] += "CARGO_BUILD_FLAGS RUSTFLAGS CARGO_PROFILE_RELEASE_STRIP"
