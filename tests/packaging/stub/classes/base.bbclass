# Tasks in the order that core has them; they do nothing.
python do_fetch() {
}
python do_unpack() {
}
python do_patch() {
}
python do_configure() {
}
python do_compile() {
}
python do_install() {
}
python do_package() {
}
addtask fetch
addtask unpack after do_fetch
addtask patch after do_unpack
addtask configure after do_patch
addtask compile after do_configure
addtask install after do_compile
addtask package after do_install
