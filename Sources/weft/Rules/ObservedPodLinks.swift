// The links of this node's pods as the kernel has them, both ends.

import DataPlane
import KernelNetlink
import Observe
import Policy

/// Read once; nothing is changed. Costs a visit to each pod's network namespace.
struct ObservedPodLinks {
  var links: [PodLink] = []

  init(dataFolder: String) throws {
    let book = try AttachmentBook(path: "\(dataFolder)/attachments.json")
    var session = try RouteSession()
    let own = Dictionary(try session.links().map { ($0.name, $0) }) { first, _ in first }
    let namespaces = try session.linkedNamespaces()
    for attachment in book.attachments {
      guard let link = own[attachment.hostInterface], let number = link.peerNamespace,
        let path = namespaces[number], var inside = try? RouteSession(inNamespace: path),
        let ends = try? inside.links(), let end = ends.first(where: { $0.index == link.peer })
      else { continue }
      links.append(
        PodLink(
          pod: attachment.pod, name: link.name, podMTU: end.mtu, nodeMTU: link.mtu, isHairpin: link.isHairpin)
      )
    }
  }
}
