//! `[site.route.cache]` as it is written.

use std::time::Duration;

use http::{HeaderName, Method};

use crate::config::address::Whom;
use crate::config::read::{List, OrOff, Size, table};
use crate::config::template::Template;
use crate::config::words::{Failure, IgnoredField, RequestDirectives, ValidTable, ZoneName};
use crate::semantics::rules::Semantics;

table! {
    /// `[site.route.cache]`
    Cache() {
        semantics: Semantics,
        zone: ZoneName,
        key: Template,
        query: Query,
        partition: List<Template>,
        methods: List<Method>,
        convert_head: bool,
        valid: ValidTable,
        bypass: List<Template>,
        no_cache: List<Template>,
        min_uses: u32,
        lock: bool,
        lock_timeout: Duration,
        lock_age: Duration,
        hold_down: Duration,
        finish_max: OrOff<Size>,
        use_stale: List<Failure>,
        background_update: bool,
        revalidate: bool,
        heuristic: bool,
        ignore_headers: List<IgnoredField>,
        targeted: List<HeaderName>,
        request_directives: RequestDirectives,
        normalize_vary: bool,
        max_range_offset: OrOff<Size>,
        force_ranges: bool,
        slice: OrOff<Size>,
        hide_header: List<HeaderName>,
        pass_header: List<HeaderName>,
        purge: OrOff<Purge>,
    }
}

table! {
    /// `query`
    Query() {
        sort: bool,
        drop: List<String>,
        keep: List<String>,
    }
}

table! {
    /// `purge`
    Purge(from) {
        from: List<Whom>,
    }
}
