//! Fuzzes `bodies::state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pd_lite::bodies::state(bytes));
