//! Generates the messages of `proto/`, without the methods, which need the network.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const PROTO_DIR: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(interleavings)");
    println!("cargo::rerun-if-changed={PROTO_DIR}");
    let out_dir = env::var("OUT_DIR")?;
    let names = ["pd", "pdlite"];
    let inputs = names.map(|name| format!("{PROTO_DIR}/{name}.proto"));
    protobuf_codegen::Codegen::new().pure().includes([PROTO_DIR]).inputs(inputs).out_dir(&out_dir).run()?;
    let mut index = String::new();
    for name in names {
        writeln!(index, "#[path = {:?}]\npub mod {name};", Path::new(&out_dir).join(format!("{name}.rs")))?;
    }
    fs::write(Path::new(&out_dir).join("proto.rs"), index)?;
    Ok(())
}
