//! The build script: tells the linker to leave the unwind tables out of the release binary (`unwind.ld` says why).

fn main() {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let script = std::path::Path::new(&variable("CARGO_MANIFEST_DIR")).join("cross/unwind.ld");
    println!("cargo::rerun-if-changed=cross/unwind.ld");
    // Development builds unwind (a test that panics must not end the others), and only ELF linkers take the script. 32-bit
    // ARM has tables of another kind, which are small.
    if variable("PROFILE") == "release"
        && variable("CARGO_CFG_TARGET_OS") == "linux"
        && variable("CARGO_CFG_TARGET_ARCH") != "arm"
    {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    }
}
