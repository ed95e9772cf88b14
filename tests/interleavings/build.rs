//! Makes `src/storage/sync.rs` take the primitives of `shuttled.rs`.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(interleavings)");
    println!("cargo::rustc-cfg=interleavings");
}
