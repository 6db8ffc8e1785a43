// What a resolver makes of a name, step by step: for `weft dns query`, for people and for tests.

/// How a resolver looks for a name (resolv.conf(5)): along a list, or first as it stands when it has enough dots.
public struct NameSearch: Sendable, Hashable {
  /// The endings that are tried in turn.
  public var endings: [DomainName]
  /// So many dots, and the name is tried as it stands first.
  public var dots: Int

  public init(endings: [DomainName] = [], dots: Int = 1) {
    self.endings = endings
    self.dots = dots
  }

  /// That of a pod with `dnsPolicy: ClusterFirst`.
  public init(namespace: String, zone: DomainName) {
    let services = zone.child("svc")
    self.init(endings: [services?.child(namespace), services, zone].compactMap(\.self), dots: 5)
  }

  /// The names that are asked for, in their order. One that ends with a dot is asked for alone.
  public func candidates(_ text: String) -> [DomainName] {
    guard let name = DomainName(text) else { return [] }
    if text.hasSuffix(".") { return [name] }
    let labels = name.labels.map(Array.init)
    let searched = endings.compactMap { DomainName(labels: labels + $0.labels.map(Array.init)) }
    return labels.count > dots ? [name] + searched : searched + [name]
  }

  /// One question and its answer.
  public struct Step: Sendable, Hashable {
    public var name: DomainName
    public var result: LookupResult

    /// Name, outcome and reason, as a table's row.
    public var cells: [String] { ["\(name)", result.outcome.word, result.reason] }
    /// Whether a resolver asks no further.
    public var isLast: Bool { result.outcome != .nameError && result.outcome != .noData }
  }

  /// The questions up to the first that is neither denied nor without such records. Pure.
  public func steps(_ text: String, _ type: RecordType, in zone: Zone) -> [Step] {
    var steps: [Step] = []
    for name in candidates(text) {
      steps.append(Step(name: name, result: zone.lookup(name, type)))
      if steps.last?.isLast == true { break }
    }
    return steps
  }
}

extension LookupResult.Outcome {
  /// As people of DNS say it.
  public var word: String {
    switch self {
    case .records: "records"
    case .noData: "no data"
    case .nameError: "NXDOMAIN"
    case .elsewhere: "forwarded"
    case .alias: "alias"
    case .serverFailure: "SERVFAIL"
    }
  }
}
