//! The service without a network.
