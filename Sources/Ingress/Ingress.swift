// Ingress: routing table, HTTP/1 relay on the Reactor.
