// httpGet as kubelet does it: its headers, its redirects, HTTPS without a look at the certificate.

import Addresses
import ClusterObjects
import ClusterStreams
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// What is asked for.
struct HTTPProbe: Sendable, Hashable {
  var isSecure = false
  var host: String?
  var port: Int
  /// With the query.
  var path = "/"
  var headers: [[String]] = []

  /// Reads an `httpGet`; the port is a number already.
  init(_ tree: JSON, port: Int) {
    self.port = port
    isSecure = tree["scheme"]?.string?.uppercased() == "HTTPS"
    host = tree["host"]?.string.flatMap { $0.isEmpty ? nil : $0 }
    let given = tree["path"]?.string ?? ""
    path = given.hasPrefix("/") ? given : "/" + given
    headers = (tree["httpHeaders"]?.elements ?? []).map { entry in
      [entry["name"]?.string ?? "", entry["value"]?.string ?? ""]
    }
  }

  init(isSecure: Bool, port: Int, path: String, headers: [[String]] = []) {
    (self.isSecure, self.port, self.path, self.headers) = (isSecure, port, path, headers)
  }

  /// Reads a whole address. Nil when it is none of HTTP's.
  init?(url: some StringProtocol) {
    var rest = Substring(url)
    if rest.hasPrefix("https://") {
      isSecure = true
      rest = rest.dropFirst(8)
    } else if rest.hasPrefix("http://") {
      rest = rest.dropFirst(7)
    } else {
      return nil
    }
    let authority = rest.prefix { $0 != "/" && $0 != "?" }
    port = isSecure ? 443 : 80
    var name = authority
    if let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") {
      guard let number = Int(authority[authority.index(after: colon)...]), (1...65535).contains(number) else {
        return nil
      }
      port = number
      name = authority[..<colon]
    }
    host = name.filter { $0 != "[" && $0 != "]" }
    let path = rest.dropFirst(authority.count)
    self.path = path.hasPrefix("/") ? String(path) : "/" + path
  }

  /// The address as messages say it.
  func url(_ host: String) -> String {
    let name = host.contains(":") ? "[\(host)]" : host
    return "\(isSecure ? "https" : "http")://\(name):\(port)\(path)"
  }
}

/// Where an answer leads.
enum ProbeStep: Sendable, Hashable {
  case done
  /// The same host: asked next.
  case follow(HTTPProbe)
  /// Another host: kubelet takes that for success and says so.
  case elsewhere(String)
  case failed(String)
}

/// The header of a probe's request: kubelet's own unless the probe says otherwise; an empty `Accept` or `User-Agent` is left
/// out. Pure.
func planProbeHeaders(_ probe: HTTPProbe, host: String) -> HTTPHeaders {
  var headers = HTTPHeaders()
  let name = host.contains(":") ? "[\(host)]" : host
  let isUsual = probe.port == (probe.isSecure ? 443 : 80)
  headers.add(name: "Host", value: isUsual ? name : "\(name):\(probe.port)")
  headers.add(name: "User-Agent", value: "kube-probe/1.37")
  headers.add(name: "Accept", value: "*/*")
  var replaced: Set<String> = []
  for entry in probe.headers where entry.count == 2 && !entry[0].isEmpty {
    // Bytes of a header come from a manifest: none of them may end a line.
    guard !(entry[0] + entry[1]).utf8.contains(where: { $0 == 10 || $0 == 13 || $0 == 0 }) else { continue }
    let key = entry[0].lowercased()
    if replaced.insert(key).inserted { headers.remove(name: key) }
    if !entry[1].isEmpty { headers.add(name: entry[0], value: entry[1]) }
  }
  headers.replaceOrAdd(name: "Connection", value: "close")
  return headers
}

/// What a status and a `Location` mean. Pure.
func planProbeStep(_ probe: HTTPProbe, host: String, status: Int, location: String?) -> ProbeStep {
  let isRedirect = [301, 302, 303, 307, 308].contains(status)
  guard isRedirect, let location, !location.isEmpty else {
    return (200..<400).contains(status) ? .done : .failed("HTTP probe failed with statuscode: \(status)")
  }
  var next = probe
  if location.hasPrefix("/"), !location.hasPrefix("//") {
    next.path = location
    return .follow(next)
  }
  if ["https://", "http://", "//"].contains(where: { location.hasPrefix($0) }) {
    let whole = location.hasPrefix("//") ? (probe.isSecure ? "https:" : "http:") + location : location
    guard let found = HTTPProbe(url: whole) else {
      return .failed("HTTP probe failed with statuscode: \(status)")
    }
    guard found.host == host else { return .elsewhere(location) }
    next.isSecure = found.isSecure
    next.port = found.port
    next.path = found.path
    return .follow(next)
  }
  // Relative to the folder of this path.
  let folder = probe.path.prefix { $0 != "?" }
  next.path = folder.prefix(through: folder.lastIndex(of: "/") ?? folder.startIndex) + location
  return .follow(next)
}

enum HTTPProbing {
  enum Result: Sendable, Hashable {
    case success
    case warning(String)
    case failure(String)
  }
  static let redirectsMax = 10

  static func run(_ probe: HTTPProbe, host: String, netnsPath: String?, timeoutMilliseconds: Int) async
    -> Result
  {
    var probe = probe
    let deadline = Dial.now() + timeoutMilliseconds
    for _ in 0...redirectsMax {
      let left = deadline - Dial.now()
      let answer = await ask(probe, host, netnsPath, left)
      switch answer {
      case .failure(let problem):
        return .failure("Get \"\(probe.url(host))\": \(problem.text)")
      case .success(let answer):
        switch planProbeStep(
          probe, host: host, status: Int(answer.head.status.code),
          location: answer.head.headers.first(name: "location"))
        {
        case .done: return .success
        case .elsewhere(let place): return .warning("Probe terminated redirects, Location: \(place)")
        case .failed(let text): return .failure(text)
        case .follow(let next): probe = next
        }
      }
    }
    return .failure("Get \"\(probe.url(host))\": stopped after \(redirectsMax) redirects")
  }

  /// Why there is no answer, in words that users know.
  struct Problem: Error { var text: String }
  /// What a server said; the body is there when it was asked for.
  struct Answer: Sendable {
    var head: HTTPResponseHead
    var body: [UInt8] = []
  }
  private static let late =
    Problem(text: "context deadline exceeded (Client.Timeout exceeded while awaiting headers)")

  /// One request on a connection of its own. With `bodyBytesMax` the body is read too; one that is longer is a problem. A probe does
  /// not look at certificates; with `isVerified` the authorities that the machine trusts decide. Names of hosts are looked up in the
  /// agent's own namespace alone.
  static func ask(
    _ probe: HTTPProbe, _ host: String, _ netnsPath: String?, _ milliseconds: Int, isVerified: Bool = false,
    bodyBytesMax: Int = 0
  ) async -> Swift.Result<Answer, Problem> {
    guard milliseconds > 0 else { return .failure(late) }
    let port = probe.port
    var place = HTTPCall.Place.address(host, port: port)
    if netnsPath != nil || IPAddress(host) != nil {
      let connected = await NetnsThread.run(netnsPath) {
        Dial.connected(host, port: port, timeoutMilliseconds: milliseconds)
      }
      guard let (descriptor, problem) = connected else {
        return .failure(Problem(text: "the node's network namespace cannot be entered"))
      }
      guard descriptor >= 0 else { return .failure(Problem(text: problem ?? "cannot be reached")) }
      place = .socket(descriptor)
    }
    var tls: (@Sendable () throws -> NIOSSLClientHandler)?
    if probe.isSecure {
      var settings = TLSConfiguration.makeClientConfiguration()
      if !isVerified { settings.certificateVerification = .none }
      // A server that hangs does not say goodbye either, and the answer's time is over.
      settings.shutdownTimeout = .zero
      guard let context = try? NIOSSLContext(configuration: settings) else {
        if case .socket(let descriptor) = place { close(descriptor) }
        return .failure(Problem(text: "no TLS context could be made"))
      }
      // An address is no name for TLS.
      let name = IPAddress(host) == nil ? host : nil
      tls = { try NIOSSLClientHandler(context: context, serverHostname: name) }
    }
    do {
      let loop = MultiThreadedEventLoopGroup.singleton.any()
      let call = try await HTTPCall.connect(place, on: loop, tls: tls)
      // Before the timer: what it ends is late by this clock too.
      let start = Dial.now()
      let timer = loop.scheduleTask(in: .milliseconds(Int64(milliseconds))) { call.close() }
      defer {
        timer.cancel()
        call.close()
      }
      call.begin(
        HTTPRequestHead(
          version: .http1_1, method: .GET, uri: probe.path, headers: planProbeHeaders(probe, host: host)))
      call.finish()
      do {
        var answer = Answer(head: try await call.answer())
        if bodyBytesMax > 0 { answer.body = try await call.body(bytesMax: bodyBytesMax) }
        return .success(answer)
      } catch {
        if Dial.now() - start >= milliseconds { return .failure(late) }
        return .failure(Problem(text: error is HTTPCall.Closed ? "EOF" : "\(error)"))
      }
    } catch {
      return .failure(Problem(text: "\(error)"))
    }
  }
}
