//! The build script: how the release binary is laid out and what is left out of it (`order.ld` and `unwind.ld` say why).

fn main() {
    let variable = |name| std::env::var(name).unwrap_or_default();
    println!("cargo::rerun-if-changed=cross");
    // Development builds unwind (a test that panics must not end the others), and only ELF linkers take the scripts.
    if variable("PROFILE") != "release" || variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    let script = |name: &str| {
        let path = std::path::Path::new(&variable("CARGO_MANIFEST_DIR")).join(name);
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", path.display());
    };
    script("cross/order.ld");
    // 32-bit ARM has unwind tables of another kind, which are small.
    if variable("CARGO_CFG_TARGET_ARCH") != "arm" {
        script("cross/unwind.ld");
    }
    // Relative relocations packed: 75 KB less, and no pages read for them at the start. Rust's own musl knows them since 1.93;
    // a glibc before 2.36 would not start the binary. Linkers that do not know the flag say so and go on, but for zig and
    // others that are chosen by name.
    if variable("CARGO_CFG_TARGET_ARCH") == "x86_64"
        && variable("CARGO_CFG_TARGET_ENV") == "musl"
        && variable("RUSTC_LINKER").is_empty()
    {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
