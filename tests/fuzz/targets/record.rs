//! Fuzzes `bodies::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pd_lite::bodies::record(bytes));
