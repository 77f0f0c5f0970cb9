//! `larder_fuzz::index_snapshots` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| larder_fuzz::index_snapshots::check(data));
