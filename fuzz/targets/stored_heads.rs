//! `larder_fuzz::stored_heads` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::stored_heads::check(data));
