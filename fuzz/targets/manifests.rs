//! `larder_fuzz::manifests` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::manifests::check(data));
