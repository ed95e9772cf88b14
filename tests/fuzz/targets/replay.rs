//! Fuzzes `bodies::replay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pd_lite::bodies::replay(bytes));
