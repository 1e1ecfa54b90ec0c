CARGO_TEST_BINARIES_FILES ?= "${B}/test_binaries_list"
do_compile_ptest_cargo() {
    :
}
do_compile_ptest_base() {
    :
}
do_install_ptest_base() {
    :
}
do_install_ptest_cargo() {
    :
}
addtask compile_ptest_cargo after do_compile before do_compile_ptest_base
addtask compile_ptest_base after do_compile before do_install_ptest_base
addtask install_ptest_base after do_compile_ptest_base do_install before do_package
addtask install_ptest_cargo after do_install_ptest_base before do_package
