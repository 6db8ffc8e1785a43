// The API server: TLS, HTTP, discovery, REST, watch cache, admission, tables.
