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
    if packs() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether relative relocations can be packed: 75 KB less, and no pages read for them at the start.
///
/// Linkers that do not know the flag say so and go on, but for those that are chosen by name (zig ends). The C library has to
/// unpack: Rust's own musl does since 1.93, glibc since 2.36, so it is asked for when it is this machine's that is linked with.
fn packs() -> bool {
    let variable = |name| std::env::var(name).unwrap_or_default();
    if variable("CARGO_CFG_TARGET_ARCH") != "x86_64" || !variable("RUSTC_LINKER").is_empty() {
        return false;
    }
    match variable("CARGO_CFG_TARGET_ENV").as_str() {
        "musl" => true,
        "gnu" if variable("HOST") == variable("TARGET") => {
            let said = std::process::Command::new("getconf")
                .arg("GNU_LIBC_VERSION")
                .output();
            let said = said.map(|output| output.stdout).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let version = said.trim().trim_start_matches("glibc ").split('.');
            version
                .map_while(|part| part.parse().ok())
                .collect::<Vec<u32>>()
                >= vec![2, 36]
        }
        _ => false,
    }
}
