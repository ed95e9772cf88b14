//! Calls whose requests are encoded already: many regions in one message would make the generator what is measured.

use std::io::Read;

use grpcio::{GrpcSlice, Marshaller, MessageReader, Method, MethodType};
use protobuf::Message;

/// A request that is sent without a copy.
pub type Bytes = &'static [u8];

/// The unary method of this name with requests and answers as bytes.
pub const fn method(name: &'static str) -> Method<Bytes, Vec<u8>> {
    Method {
        ty: MethodType::Unary,
        name,
        req_mar: Marshaller { ser: write_request, de: no_request },
        resp_mar: Marshaller { ser: no_answer, de: read_answer },
    }
}

/// Encodes requests that are sent for as long as the bench runs.
pub fn all<M: Message>(requests: impl Iterator<Item = M>) -> &'static [Bytes] {
    let encode = |request: M| {
        let bytes = request.write_to_bytes().expect("a message of a bench can be encoded");
        let bytes: Bytes = Box::leak(bytes.into_boxed_slice());
        bytes
    };
    Box::leak(requests.map(encode).collect())
}

/// The request of a call, over and over again from the first one.
pub fn nth(requests: &'static [Bytes], number: u64) -> Bytes {
    let at = usize::try_from(number).expect("a number of calls fits 64 bits") % requests.len();
    requests[at]
}

fn write_request(bytes: &Bytes, out: &mut GrpcSlice) -> grpcio::Result<()> {
    *out = GrpcSlice::from_static_slice(bytes);
    Ok(())
}

fn read_answer(mut reader: MessageReader) -> grpcio::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(|error| grpcio::Error::Codec(error.into()))?;
    Ok(bytes)
}

/// Servers have the methods with their messages.
fn no_request(_: MessageReader) -> grpcio::Result<Bytes> {
    unreachable!("encoded methods are called, not served")
}

fn no_answer(_: &Vec<u8>, _: &mut GrpcSlice) -> grpcio::Result<()> {
    unreachable!("encoded methods are called, not served")
}
