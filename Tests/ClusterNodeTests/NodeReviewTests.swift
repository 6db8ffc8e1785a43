// Clients of the node's port with a token or a certificate of somebody else's: the API server says who they are and what they may, once
// for a while.

import Diagnostics
import ClusterObjects
import NIOCore
import NIOEmbedded
import NIOHTTP1
import ClusterStreams
import Synchronization
import Testing

@testable import ClusterNode

/// An API server that knows one token, and lets its owner read metrics.
private final class Reviewer: Sendable {
  let asked = Mutex<[String]>([])
  let isAway = Mutex(false)

  func reviews() -> NodeReviews {
    NodeReviews(nodeName: "n1", metrics: Metrics()) { [self] resource, review in
      if isAway.withLock({ $0 }) { throw Unreachable() }
      var answer = review
      switch resource.resource {
      case "tokenreviews":
        let token = review.at("spec", "token")?.string ?? ""
        asked.withLock { $0.append("token \(token)") }
        answer["status"] =
          token == "good"
          ? [
            "authenticated": true,
            "user": [
              "username": "system:serviceaccount:m:p", "uid": "7", "groups": ["system:authenticated"],
              "extra": ["k": ["v"]],
            ],
          ] : ["authenticated": false, "error": "invalid bearer token"]
      default:
        let attributes = review.at("spec", "resourceAttributes")
        let part = attributes?["subresource"]?.string ?? ""
        #expect(attributes?["resource"] == "nodes" && attributes?["name"] == "n1")
        #expect(review.at("spec", "user") == "system:serviceaccount:m:p" && review.at("spec", "uid") == "7")
        #expect(review.at("spec", "extra", "k")?[0] == "v")
        asked.withLock { $0.append("\(attributes?["verb"]?.string ?? "") \(part)") }
        answer["status"] = ["allowed": JSON(["metrics", "pods"].contains(part))]
      }
      return answer
    }
  }
  private struct Unreachable: Error {}
}

private func ask(
  _ reviews: NodeReviews?, _ uri: String, _ method: HTTPMethod = .GET, authorization: String? = "Bearer good",
  peer: NodeRequest.Peer? = nil
) async throws -> (code: Int, text: String)? {
  let target = try #require(RequestTarget(uri))
  var headers = HTTPHeaders()
  if let authorization { headers.add(name: "authorization", value: authorization) }
  let request = NodeRequest(
    method: method, target: target, headers: headers, peer: peer, channel: EmbeddedChannel())
  guard case .bytes(let code, _, let bytes)? = await refusal(of: request, reviews) else { return nil }
  return (code, String(buffer: bytes))
}

@Suite struct NodeReviewTests {
  @Test func `a token's owner may what the API server says, and is asked about once`() async throws {
    let reviewer = Reviewer()
    let reviews = reviewer.reviews()
    for _ in 0..<3 { #expect(try await ask(reviews, "/metrics/resource") == nil) }
    #expect(reviewer.asked.withLock { $0 } == ["token good", "get metrics"])
    let refused = try await ask(reviews, "/exec/a/b/c?command=ls&output=1", .POST)
    #expect(refused?.code == 403)
    #expect(
      refused?.text
        == "Forbidden (user=system:serviceaccount:m:p, verb=create, resource=nodes, subresource(s)=[proxy])")
    // The narrow right is enough, and is looked for first.
    #expect(try await ask(reviews, "/pods") == nil)
    #expect(try await ask(reviews, "/configz")?.text.contains("subresource(s)=[configz proxy]") == true)
    #expect(
      reviewer.asked.withLock { $0 } == [
        "token good", "get metrics", "create proxy", "get pods", "get configz", "get proxy",
      ])
  }

  @Test(arguments: ["Bearer bad", "Bearer ", "Basic Z29vZA==", "good"])
  func `who is nobody is told nothing`(authorization: String) async throws {
    let reviews = Reviewer().reviews()
    for _ in 0..<2 {
      #expect(try await ask(reviews, "/healthz", authorization: authorization)?.code == 401)
    }
    #expect(try await ask(nil, "/healthz")?.code == 401)
  }

  @Test func `while the API server is away only those are obeyed about whom nobody asks`() async throws {
    let reviewer = Reviewer()
    let reviews = reviewer.reviews()
    reviewer.isAway.withLock { $0 = true }
    #expect(try await ask(reviews, "/metrics")?.code == 401)
    let somebody = NodeRequest.Peer(user: "jane", groups: [])
    let unknown = try await ask(reviews, "/metrics", authorization: nil, peer: somebody)
    #expect(unknown?.code == 500)
    #expect(
      unknown?.text == "Authorization error (user=jane, verb=get, resource=nodes, subresource=metrics)")
    let server = NodeRequest.Peer(user: "kube-apiserver-kubelet-client", groups: [])
    #expect(try await ask(reviews, "/pods", authorization: nil, peer: server) == nil)
    // An answer that was not given is not kept.
    reviewer.isAway.withLock { $0 = false }
    #expect(try await ask(reviews, "/metrics") == nil)
  }

  @Test func `each path is of a part of the node`() {
    for (path, parts) in [
      ("stats", ["stats"]), ("metrics", ["metrics"]), ("logs", ["log"]), ("pods", ["pods", "proxy"]),
      ("runningpods", ["pods", "proxy"]), ("healthz", ["healthz", "proxy"]), ("exec", ["proxy"]),
      ("containerLogs", ["proxy"]), ("weft", ["proxy"]),
    ] { #expect(planSubresources([path, "x"]) == parts) }
  }
}
