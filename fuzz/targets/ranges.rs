//! `larder_fuzz::ranges` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::ranges::check(data));
