//! `larder_fuzz::plain_gets` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::plain_gets::check(data));
