//! `larder_fuzz::heads` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::heads::check(data));
