//! The integration tests: a module a behaviour.

mod transport;
