//! `larder_fuzz::nginx_files` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::nginx_files::check(data));
