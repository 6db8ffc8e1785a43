// Statuses of gRPC for errors of our own.

extension OwnResponse {
  /// gRPC's code for an HTTP status that we would answer with, as gRPC's own mapping has it. 504 is a limit of time that
  /// ended here: DEADLINE_EXCEEDED; a body or field beyond our bounds is RESOURCE_EXHAUSTED.
  static func grpcStatus(_ status: Int) -> Int {
    switch status {
    case 400: 13
    case 401: 16
    case 403: 7
    case 404: 12
    case 413, 431: 8
    case 408, 504: 4
    case 429, 502, 503: 14
    default: 2
    }
  }
}
