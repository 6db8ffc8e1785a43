// Services and EndpointSlices packed straight from their text. A cluster has them by the ten thousand, and a tree of each costs many
// times what its names are made of.
//
// Only what is written as an API server writes it is read here. Whatever `Service(tree)` or `EndpointSlice(tree)` might refuse, and
// what is rare, is left to them: they alone say what is wrong with an object.

import Addresses
import ClusterObjects

struct PlainObjects {
  /// Left to the tree.
  struct NotPlain: Error {}

  let wants: NameBook.Wants

  // MARK: - Objects

  /// What `Service.packed` says of the same object.
  func service(_ object: TapeValue) throws(NotPlain) -> [UInt8] {
    let spec = object["spec"]
    guard spec?["loadBalancerSourceRanges"]?.isEmpty ?? true,
      object["status"]?["loadBalancer"]?["ingress"]?.isEmpty ?? true
    else { throw NotPlain() }
    for field in [spec?["internalTrafficPolicy"], spec?["externalTrafficPolicy"]] {
      guard let field else { continue }
      guard field.isString("Cluster") || field.isString("Local") else { throw NotPlain() }
    }
    _ = try port(spec?["healthCheckNodePort"])
    let kind = try choice(spec?["type"], ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])
    let single = try text(spec?["clusterIP"]) ?? ""
    let isHeadless = single == "None"
    var addresses = try self.addresses(spec?["clusterIPs"], skipping: "None")
    if addresses.isEmpty, !single.isEmpty, !isHeadless { addresses = [try address(single)] }
    let isExternalName = kind == 3

    var writer = PackingWriter()
    writer.byte(
      UInt8(kind) | (isHeadless ? 8 : 0)
        | (try isTrue(spec?["publishNotReadyAddresses"], else: false) ? 16 : 0)
        | (try texts(spec?["selector"]).isEmpty ? 0 : 32))
    writer.list(isExternalName || isHeadless ? [] : addresses) { $0.address($1) }
    writer.list(try self.addresses(spec?["externalIPs"])) { $0.address($1) }
    writer.number(0)
    writer.text((try text(spec?["externalName"]) ?? "") as String)
    try list(spec?["ports"], &writer) { writer, item throws(NotPlain) in
      _ = try port(item["nodePort"])
      guard let number = try port(item["port"]) else { throw NotPlain() }
      writer.text((try text(item["name"]) ?? "") as String)
      writer.byte(UInt8(try choice(item["protocol"], ["TCP", "UDP", "SCTP"])))
      writer.number(number)
    }
    writer.map(wants.contains(.labels) ? try texts(object["metadata"]?["labels"]) : [:])
    return writer.bytes
  }

  /// What `EndpointSlice.packed` says of the same object, and the name of its Service.
  func slice(_ object: TapeValue, _ key: ObjectKey) throws(NotPlain) -> (service: String?, bytes: [UInt8]) {
    let metadata = object["metadata"]
    let isFour = object["addressType"]?.isString("IPv4") ?? false
    guard isFour || object["addressType"]?.isString("IPv6") ?? false else { throw NotPlain() }
    var writer = PackingWriter()
    writer.byte(isFour ? 0 : 1)
    writer.text(try text(metadata?["annotations"]?["endpoints.kubernetes.io/last-change-trigger-time"]))
    try list(object["ports"], &writer) { writer, item throws(NotPlain) in
      let number = try port(item["port"]) ?? 0
      writer.text((try text(item["name"]) ?? "") as String)
      writer.byte(UInt8(try choice(item["protocol"], ["TCP", "UDP", "SCTP"])))
      writer.number(number == 0 ? 0 : number + 1)
    }
    try list(object["endpoints"], &writer) { writer, item throws(NotPlain) in
      guard let first = item["addresses"]?.first else { throw NotPlain() }
      let address = try address(try text(first) ?? "")
      guard (address.family == .v4) == isFour else { throw NotPlain() }
      writer.address(address)
      writer.byte(try isTrue(item["conditions"]?["ready"], else: true) ? 1 : 0)
      writer.text(try text(item["hostname"]))
      writer.text(wants.contains(.zones) ? try text(item["zone"]) : nil)
      guard wants.contains(.endpointPods), let target = item["targetRef"],
        try text(target["kind"]) == "Pod", let name = try text(target["name"])
      else { return writer.number(0) }
      writer.text(Optional(try text(target["namespace"]) ?? key.namespace))
      writer.text(name)
    }
    return (try text(metadata?["labels"]?["kubernetes.io/service-name"]), writer.bytes)
  }

  // MARK: - Fields

  private func text(_ value: TapeValue?) throws(NotPlain) -> String? {
    guard let value else { return nil }
    guard let text = value.string else { throw NotPlain() }
    return text
  }

  private func isTrue(_ value: TapeValue?, else absent: Bool) throws(NotPlain) -> Bool {
    guard let value else { return absent }
    guard let bool = value.bool else { throw NotPlain() }
    return bool
  }

  /// Which of the words stands there; the first when none does.
  private func choice(_ value: TapeValue?, _ words: [StaticString]) throws(NotPlain) -> Int {
    guard let value else { return 0 }
    guard let index = words.firstIndex(where: { value.isString($0) }) else { throw NotPlain() }
    return index
  }

  private func port(_ value: TapeValue?) throws(NotPlain) -> Int? {
    guard let value else { return nil }
    guard let number = value.integer, let port = UInt16(exactly: number) else { throw NotPlain() }
    return Int(port)
  }

  private func address(_ text: String) throws(NotPlain) -> IPAddress {
    guard let address = IPAddress(text) else { throw NotPlain() }
    return address
  }

  private func addresses(_ list: TapeValue?, skipping skipped: String? = nil) throws(NotPlain) -> [IPAddress]
  {
    var result: [IPAddress] = []
    try list?.forEach { element throws(NotPlain) in
      guard let text = element.string else { throw NotPlain() }
      if text.isEmpty || text == skipped { return }
      result.append(try address(text))
    }
    return result
  }

  private func list(
    _ value: TapeValue?, _ writer: inout PackingWriter,
    _ body: (inout PackingWriter, TapeValue) throws(NotPlain) -> Void
  ) throws(NotPlain) {
    guard let value else { return writer.number(0) }
    guard value.isArray else { throw NotPlain() }
    writer.number(value.count)
    try value.forEach { element throws(NotPlain) in try body(&writer, element) }
  }

  private func texts(_ value: TapeValue?) throws(NotPlain) -> [String: String] {
    var entries: [String: String] = [:]
    if let value, !value.isObject { throw NotPlain() }
    try value?.forEachField { name, element throws(NotPlain) in
      guard let text = element.string else { throw NotPlain() }
      entries[name] = text
    }
    return entries
  }
}
