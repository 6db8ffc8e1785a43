// Sets and maps of a table: typed keys, typed data, and their elements.

/// A named set, or a map when it has data. Elements are compared by key; `elements` may be changed freely.
public struct NamedSet: Hashable, Sendable {
  /// What an element carries besides its key.
  public enum Data: Hashable, Sendable {
    case none
    case values([DataType])
    case verdict
  }

  public var name: String
  public var key: [DataType]
  public var data: Data
  /// Elements are ranges. Of several members, each is a range of its own.
  public var isInterval: Bool
  /// Elements come and go from the packet path (`update`). They are not compared, read back or removed by a
  /// diff.
  public var isDynamic: Bool
  /// How long an element of a dynamic set lives without being refreshed.
  public var timeoutSeconds: UInt32?
  /// The most elements the kernel will hold.
  public var size: UInt32?
  public var elements: [Datum: Element]

  public init(
    _ name: String, key: [DataType], data: Data = .none, isInterval: Bool = false, isDynamic: Bool = false,
    timeoutSeconds: UInt32? = nil, size: UInt32? = nil, elements: [Datum: Element] = [:]
  ) {
    self.name = name
    self.key = key
    self.data = data
    self.isInterval = isInterval
    self.isDynamic = isDynamic
    self.timeoutSeconds = timeoutSeconds
    self.size = size
    self.elements = elements
  }

  /// A set of single values.
  public init(_ name: String, key: [DataType], values: some Sequence<Datum>) {
    self.init(name, key: key)
    for value in values { elements[value] = Element(.present) }
  }

  public var isMap: Bool { data != .none }

  /// Adds a single value to a set.
  public mutating func insert(_ key: Datum, comment: String? = nil) {
    elements[key] = Element(.present, comment: comment)
  }

  /// Adds a range to an interval set. Ranges of one set must not overlap: merge them before.
  public mutating func insert(_ first: Datum, through last: Datum, comment: String? = nil) {
    elements[first] = Element(.through(last), comment: comment)
  }

  /// Adds or replaces an element of a map.
  public mutating func insert(_ key: Datum, _ value: Datum, comment: String? = nil) {
    elements[key] = Element(.data(value), comment: comment)
  }

  /// Adds or replaces an element of a verdict map.
  public mutating func insert(_ key: Datum, _ verdict: Verdict, comment: String? = nil) {
    elements[key] = Element(.verdict(verdict), comment: comment)
  }

  /// All but the elements: when this differs, the set has to be made anew.
  public var declaration: NamedSet {
    var copy = self
    copy.elements = [:]
    return copy
  }
}

/// What stands behind a key.
public struct Element: Hashable, Sendable {
  public enum Value: Hashable, Sendable {
    case present
    /// The last value of a range whose key is the first, both included.
    case through(Datum)
    case data(Datum)
    case verdict(Verdict)
  }

  public var value: Value
  /// For people who read `nft list`; cut to 127 bytes, without double quotes.
  public var comment: String?

  public init(_ value: Value, comment: String? = nil) {
    self.value = value
    self.comment = comment.map(Rule.quotable)
  }

  /// As somebody else has it: the comment may be anything.
  public init(_ value: Value, found comment: String?) {
    self.value = value
    self.comment = comment
  }
}
