// Errors that another backend tells in place of the endpoint (`custom-http-errors`): the request's head is kept, and asked again there.
//
//   client -> POST /a -> endpoint: 503 -> [thrown away]
//                     -> errors' backend: GET /, X-Code: 503, X-Original-URI: /a … -> its answer -> client

import Reactor

extension Exchange {
  /// Has the rule's backend for errors answer, if it is for this status. Not for requests whose body has not come whole, and not for
  /// what that backend says itself.
  func tellsError(_ code: Int) -> Bool {
    guard let errors = action?.action.errors, !isErrorAnswer, status == 0 || ownError != 0,
      errors.statuses.contains(UInt16(clamping: code)), requestBody.isDone, request.isAllocated
    else { return false }
    var next = worker.requests.take()
    guard next.isAllocated else { return false }
    var out = HeadSpace(next.writable)
    writeErrorRequest(code, to: &out)
    guard !out.isFull else { return false }
    next.produced(out.count)
    upstream?.finish(isReusable: false)
    upstream = nil
    letGuardianGo()
    request = next
    pendingBody = PooledBuffer()
    isReplayable = true
    match.backend = errors.backend
    isErrorAnswer = true
    ownError = 0
    status = 0
    tries = 0
    boundKey = nil
    connect(avoiding: nil)
    return true
  }

  /// Whether an answer of ours is one that the backend for errors tells, as soon as the request is written down.
  func keepsError(_ code: Int) -> Bool {
    guard let errors = action?.action.errors, code >= 400, errors.statuses.contains(UInt16(clamping: code))
    else {
      return false
    }
    if requestBody.isDone { ownError = code }
    return requestBody.isDone
  }

  /// The request's own fields without those of its body, and what happened.
  private func writeErrorRequest(_ code: Int, to out: inout HeadSpace) {
    out.write(method == .head ? "HEAD /" : "GET /")
    // With the query that the client sent, as nginx has it.
    if let query = originalTarget.firstIndex(of: UInt8(ascii: "?")) {
      out.write(Array(originalTarget[query...]))
    }
    out.write(" HTTP/1.1\r\n")
    let bytes = fieldLines(request.readable)
    let backend = snapshot.table.backends[match.backend]
    var format: Range<Int>?
    Trailers.forEachLine(in: bytes) { name, value in
      if HeadReader.equals(bytes, name, "accept"), format == nil { format = value }
      // What frames the body that is not sent; and a client's word on what happened is not ours.
      for framing in ["content-length", "transfer-encoding", "connection", "upgrade"] as [StaticString]
      where HeadReader.equals(bytes, name, framing) { return }
      if Self.errorFields?.drops(bytes, name) == true { return }
      out.write(bytes, name)
      out.write(": ")
      out.write(bytes, value)
      out.write("\r\n")
    }
    out.write(Array("X-Code: \(code)\r\nX-Format: ".utf8))
    if let format { out.write(bytes, format) }
    out.write("\r\nX-Original-URI: ")
    out.write(originalTarget)
    out.write(
      Array(
        "\r\nX-Namespace: \(backend.namespace)\r\nX-Ingress-Name: \(backend.ingress)\r\nX-Service-Name: \(backend.service)\r\n"
          .utf8))
    out.write(Array("X-Service-Port: \(backend.servicePort)\r\n\r\n".utf8))
  }

  /// A head without its first line and its end; what stands behind it is left out too.
  private func fieldLines(_ message: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    let end = (try? HeadReader.end(of: message)).flatMap(\.self) ?? 0
    guard end >= 2, let first = message[..<end].firstIndex(of: 10) else {
      return UnsafeRawBufferPointer(start: nil, count: 0)
    }
    return UnsafeRawBufferPointer(rebasing: message[(first + 1)..<max(first + 1, end - 2)])
  }

  private static let errorFields = FieldEdit(
    HeaderEdit(
      remove: [
        "x-code", "x-format", "x-original-uri", "x-namespace", "x-ingress-name", "x-service-name",
        "x-service-port", "content-type", "content-encoding",
      ]))
}
