//! What the tests and the demo stand on: a fake API server, a cable that can be cut, a raw client, and a scene that puts
//! the real agent between them. Every piece runs in threads of its own and is stopped when its handle is dropped.
// The demo and the tests each use a part of this, and neither is a library whose reach could be checked.
#![allow(dead_code, unreachable_pub, unused_imports)]

pub mod apiserver;
pub mod cable;
pub mod client;
pub mod object;
pub mod protobuf;
pub mod random;
pub mod scene;
