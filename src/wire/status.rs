//! `Status` in the encoding that a client reads.

use crate::k8s::encoding::Encoding;
use crate::k8s::status::Status;
use crate::wire::protobuf;

/// A `Status` in the bytes that the API server would send.
pub fn encode(encoding: Encoding, status: &Status) -> Vec<u8> {
    match encoding {
        Encoding::Json => status.to_json(),
        Encoding::Protobuf => protobuf::status::encode(status),
    }
}
