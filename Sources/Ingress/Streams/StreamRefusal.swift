// Connections that are not passed on.

/// Why a connection reached no endpoint.
enum StreamRefusal: String {
  /// As many are passed on as may be.
  case full
  /// Nothing is there for its port or name.
  case noRoute = "no_route"
  /// Its share belongs to nobody, or no endpoint is ready.
  case noEndpoint = "no_endpoint"
  /// Endpoints did not take it.
  case unreachable
  case proxyHeader = "proxy_header"
  case clientHello = "client_hello"
  case handshake
  case timeout
}
