# Varnish. What stands in `@{}` is filled in; what its command line says is in servers.py.
vcl 4.1;

backend default {
    .host = "127.0.0.1";
    .port = "@{origin}";
}

sub vcl_backend_response {
    # What is no longer fresh is validated before it is served, not behind the answer: all servers do so here.
    set beresp.grace = 0s;
    set beresp.keep = 24h;
}
