// Manifests that a server has: `--manifest-url` of kubelet.

import ClusterStreams
import Diagnostics
import NIOHTTP1

/// Where a pod's manifest is, or a list of them, and what is sent along.
public struct ManifestURL: Sendable, Hashable {
  public static let bytesMax = 10 << 20
  private static let timeoutMilliseconds = 10_000

  /// As it was written.
  public let text: String
  let request: HTTPProbe

  /// Nil for what is no address of HTTP.
  /// - Parameter headers: names and values, sent with each request.
  public init?(_ text: String, headers: [(name: String, value: String)] = []) {
    guard var request = HTTPProbe(url: text), request.host?.isEmpty == false else { return nil }
    request.headers = [["User-Agent", "weft"]] + headers.map { [$0.name, $0.value] }
    self.text = text
    self.request = request
  }

  /// What the server says now. Follows redirects within its host. Throws when it says anything but 200, nothing within ten seconds, or
  /// more than `bytesMax`.
  func fetch(netnsPath: String?) async throws(StaticPodPlan.Refusal) -> String {
    var request = request
    let host = request.host ?? ""
    let deadline = Dial.now() + Self.timeoutMilliseconds
    for _ in 0...HTTPProbing.redirectsMax {
      let answer = await HTTPProbing.ask(
        request, host, netnsPath, deadline - Dial.now(), isVerified: true, bodyBytesMax: Self.bytesMax)
      switch answer {
      case .failure(let problem): throw StaticPodPlan.Refusal(message: "Get \"\(text)\": \(problem.text)")
      case .success(let answer) where answer.head.status == .ok:
        return String(decoding: answer.body, as: UTF8.self)
      case .success(let answer):
        let status = Int(answer.head.status.code)
        guard
          case .follow(let next) = planProbeStep(
            request, host: host, status: status, location: answer.head.headers.first(name: "location"))
        else { throw StaticPodPlan.Refusal(message: "\(text): \(answer.head.status)") }
        request = next
      }
    }
    throw StaticPodPlan.Refusal(message: "\(text): stopped after \(HTTPProbing.redirectsMax) redirects")
  }
}
