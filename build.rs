//! Generates the code for `proto/`: the messages by protobuf-codegen and, for each service, the constants that name its
//! methods to grpcio. Pure Rust: no protoc is needed.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use protobuf::descriptor::ServiceDescriptorProto;

const PROTO_DIR: &str = "proto";
const PROTO_FILES: [&str; 3] = ["pd", "pdlite", "serve"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO_DIR}");
    let out_dir = env::var("OUT_DIR")?;
    let inputs: Vec<String> = PROTO_FILES.iter().map(|name| format!("{PROTO_DIR}/{name}.proto")).collect();
    protobuf_codegen::Codegen::new().pure().includes([PROTO_DIR]).inputs(&inputs).out_dir(&out_dir).run()?;

    let parsed = protobuf_parse::Parser::new().pure().includes([PROTO_DIR]).inputs(&inputs).parse_and_typecheck()?;
    let mut index = String::new();
    let modules: Vec<(&str, &str)> =
        parsed.file_descriptors.iter().map(|file| (file.package(), module_of(file.name()))).collect();
    for file in &parsed.file_descriptors {
        let stem = module_of(file.name());
        // Absolute paths in `#[path]`: the generated files open with inner attributes, which `include!` does not take.
        let path = Path::new(&out_dir).join(format!("{stem}.rs"));
        writeln!(index, "#[path = {path:?}]\npub mod {stem};")?;
        for service in &file.service {
            let path = Path::new(&out_dir).join(format!("{stem}_methods.rs"));
            fs::write(&path, grpc_methods(&modules, file.package(), service)?)?;
            writeln!(index, "#[path = {path:?}]\npub mod {stem}_methods;")?;
        }
    }
    fs::write(Path::new(&out_dir).join("proto.rs"), index)?;
    Ok(())
}

/// The module of a file's messages: `pd` for `pd.proto`.
fn module_of(file: &str) -> &str {
    file.trim_end_matches(".proto")
}

/// One constant for each method of the service: its path, its kind and its message types. `modules` has each package with
/// the module of its messages.
fn grpc_methods(
    modules: &[(&str, &str)],
    package: &str,
    service: &ServiceDescriptorProto,
) -> Result<String, Box<dyn Error>> {
    let mut code = format!("//! The methods of `{package}.{}`.\n\n", service.name());
    code += "use grpcio::{Marshaller, Method, MethodType, pb_de, pb_ser};\n\n";
    for method in &service.method {
        let kind = match (method.client_streaming(), method.server_streaming()) {
            (false, false) => "Unary",
            (true, false) => "ClientStreaming",
            (false, true) => "ServerStreaming",
            (true, true) => "Duplex",
        };
        let (request, response) = (message(modules, method.input_type())?, message(modules, method.output_type())?);
        let path = format!("/{package}.{}/{}", service.name(), method.name());
        writeln!(code, "pub const {}: Method<{request}, {response}> = Method {{", constant_name(method.name()))?;
        writeln!(code, "    ty: MethodType::{kind},\n    name: {path:?},")?;
        writeln!(code, "    req_mar: Marshaller {{ ser: pb_ser, de: pb_de }},")?;
        writeln!(code, "    resp_mar: Marshaller {{ ser: pb_ser, de: pb_de }},\n}};\n")?;
    }
    Ok(code)
}

/// The Rust path of a message, from beside the modules: `super::pd::TsoRequest` for `.pb.TsoRequest`.
fn message(modules: &[(&str, &str)], path: &str) -> Result<String, Box<dyn Error>> {
    let (package, name) = path.trim_start_matches('.').rsplit_once('.').ok_or("a message without a package")?;
    let module = modules.iter().find(|(known, _)| *known == package).ok_or("a message of an unknown package")?.1;
    Ok(format!("super::{module}::{name}"))
}

/// `GetRegionByKey` as `GET_REGION_BY_KEY`, `AllocID` as `ALLOC_ID`.
fn constant_name(method: &str) -> String {
    let mut name = String::new();
    let mut after_lower = false;
    for letter in method.chars() {
        if letter.is_uppercase() && after_lower {
            name.push('_');
        }
        after_lower = letter.is_lowercase();
        name.push(letter.to_ascii_uppercase());
    }
    name
}
