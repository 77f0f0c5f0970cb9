//! What the help of each command ends with.

pub(super) const EXAMPLES: &str = "\
Examples:
  larder demo                                 see it work
  larder serve --to http://127.0.0.1:3000     put it in front of a server
  larder serve -c /etc/larder/config.toml     as a configuration says
  larder -t -c /etc/larder/config.toml        check a configuration (as nginx -t)
  larder zone du                              what takes the room on disk

Environment:
  LARDER_CONFIG  the configuration file, where neither `-c` nor `--to` is given
  LARDER_LOG     level or filter of the event log, above the configuration's
  NO_COLOR       no colours

Exit status: 0 done, 1 failed, 2 wrong usage, 3 the server is not running";

pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  larder serve --to http://127.0.0.1:3000
  larder serve --to http://127.0.0.1:3000 --listen 0.0.0.0:80 --cache-dir /var/cache/larder
  larder serve --to http://127.0.0.1:3000 --valid 10m     for an API that says nothing of caching
  larder serve --to http://127.0.0.1:3000 --cache-dir none --admin unix:/run/larder.sock
  larder serve -c /etc/larder/config.toml";

pub(super) const CHECK_EXAMPLES: &str = "\
Examples:
  larder check -c /etc/larder/config.toml
  larder check -q -c larder.toml && systemctl restart larder";

pub(super) const DEMO_EXAMPLES: &str = "\
Examples:
  larder demo
  larder demo --listen 127.0.0.1:0 --admin none";

pub(super) const STATS_EXAMPLES: &str = "\
Examples:
  larder stats
  larder stats --admin unix:/run/larder.sock
  larder stats --json | jq .zones.main.hit_ratio";

pub(super) const PURGE_EXAMPLES: &str = "\
Examples:
  larder purge http://127.0.0.1:8080/api/products
  larder purge --prefix http://127.0.0.1:8080/api/products/
  larder purge --tag product-17 --tag prices --soft
  larder purge --all --zone api --dry-run
  larder purge 'https://www.example.com/search?q=jam' --admin unix:/run/larder.sock";

pub(super) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  larder explain http://127.0.0.1:8080/api/products
  larder explain http://127.0.0.1:8080/api/greeting -H 'Accept-Language: fr'
  larder explain http://127.0.0.1:8080/api/orders --method POST
  larder explain http://127.0.0.1:8080/api/products --json | jq .now";

pub(super) const SAVE_EXAMPLES: &str = "\
Examples:
  larder snapshot save /var/backups/larder -c /etc/larder/config.toml --zone api
  larder snapshot save /srv/warm --hottest 100000
  larder snapshot save /srv/warm --max-size 20g --fresh && rsync -a --delete-delay /srv/warm/ new:/srv/warm/

Exit status: 0 done, 1 failed or something damaged was left out, 2 wrong usage";

pub(super) const LOAD_EXAMPLES: &str = "\
Examples:
  larder snapshot load /srv/warm -c /etc/larder/config.toml && systemctl start larder
  larder snapshot load /srv/warm --zone api --from default
  larder snapshot load /srv/warm --cache-dir /var/cache/larder

Exit status: 0 done, 1 failed or something damaged was left out, 2 wrong usage";

pub(super) const ADOPT_EXAMPLES: &str = "\
Examples:
  larder adopt /var/cache/nginx/api -c larder.toml --zone api && larder serve -c larder.toml
  larder adopt /var/cache/nginx/api -c larder.toml --key-is '$scheme$proxy_host$request_uri'
  larder adopt /var/cache/nginx/api -c larder.toml -H 'Accept-Language: gsw, de'

Exit status: 0 done, 1 failed or something damaged was left out, 2 wrong usage";

pub(super) const RELOAD_EXAMPLES: &str = "\
Examples:
  larder reload
  larder reload --admin unix:/run/larder/admin.sock
  larder -s reload

Exit status: 0 in use, 1 wrong and not used, 2 wrong usage, 3 no server is running";

pub(super) const INSPECT_EXAMPLES: &str = "\
Examples:
  larder inspect http://127.0.0.1:8080/api/products
  larder inspect http://127.0.0.1:8080/api/greeting -H 'Accept-Language: fr'
  larder inspect http://127.0.0.1:8080/api/products --json | jq .selected.file.problem";

pub(super) const LS_EXAMPLES: &str = "\
Examples:
  larder zone ls
  larder zone ls api -c /etc/larder/config.toml --sort size | head
  larder zone ls --cache-dir /var/cache/larder --prefix http://www.example.com/img/ --long
  larder zone ls --sort none --json | jq -r 'select(.ttl_s < 0).key'";

pub(super) const DU_EXAMPLES: &str = "\
Examples:
  larder zone du
  larder zone du -c /etc/larder/config.toml --depth 2 --top 20
  larder zone du --cache-dir /var/cache/larder --json | jq '.[].purged.disk_bytes'";

pub(super) const VERIFY_EXAMPLES: &str = "\
Examples:
  larder zone verify
  larder zone verify api -c /etc/larder/config.toml
  larder zone verify --cache-dir /var/cache/larder --repair

Exit status: 0 all is well, 1 something is damaged (even if it was repaired) or cannot be looked at";

pub(super) const UPSTREAM_LS_EXAMPLES: &str = "\
Examples:
  larder upstream ls
  larder upstream ls backend --json | jq '.upstreams.backend.peers[].state'";

pub(super) const UPSTREAM_EXAMPLES: &str = "\
Examples:
  larder upstream drain backend/10.0.0.1:3000     no new requests: wait until `active` is 0
  larder upstream up backend/10.0.0.1:3000        after the deployment
  larder upstream down backend                    all servers of it

What is set by hand lasts until the server stops or is told otherwise.";

#[cfg(feature = "import")]
pub(super) const IMPORT_EXAMPLES: &str = "\
Examples:
  larder import /etc/nginx/nginx.conf                  to look at
  larder import /etc/nginx/nginx.conf --prefix /usr/share/nginx -o larder.toml
  larder import nginx.conf -o larder.toml --json | jq '.directives[] | select(.verdict != \"exact\")'

The configuration goes to standard output or to the file of `-o`, the report to standard error.

Exit status: 0 done, 1 no syntax of nginx, or with `--strict` not all of it exact, 2 wrong usage";
