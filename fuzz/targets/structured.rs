//! `larder_fuzz::structured` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::structured::check(data));
