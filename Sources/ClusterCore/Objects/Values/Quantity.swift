// Amounts of resources: `500m`, `2Gi`, `1e3`. Exact decimal arithmetic; printed in the one canonical form of
// Kubernetes.

/// An exact amount. Parsing follows the public grammar: a decimal number and an SI, binary or exponent
/// suffix.
public struct Quantity: Sendable, Hashable, Comparable, CustomStringConvertible {
  public enum Format: Sendable, Hashable {
    /// `k M G T P E` and `m u n`.
    case decimalSI
    /// `Ki Mi Gi Ti Pi Ei`.
    case binarySI
    /// `e3`, `E6`.
    case decimalExponent
  }

  /// Billionths; the finest step that the API keeps.
  private var nanos: Wide
  public var format: Format

  /// Larger than 2^63-1 whole units is capped there, as upstream does.
  static var unitsMax: Wide { Wide(Int64.max) * Wide(1_000_000_000) }

  typealias Wide = Int128

  private init(nanos: Wide, format: Format) {
    self.nanos = min(max(nanos, -Self.unitsMax), Self.unitsMax)
    self.format = format
  }

  public init(_ value: Int64, format: Format = .decimalSI) {
    self.init(nanos: Wide(value) * 1_000_000_000, format: format)
  }

  public init(milli: Int64, format: Format = .decimalSI) {
    self.init(nanos: Wide(milli) * 1_000_000, format: format)
  }

  /// Nil when the text is no quantity.
  public init?(_ text: String) {
    let bytes = Array(text.utf8)
    var index = 0
    var isNegative = false
    if index < bytes.count, bytes[index] == UInt8(ascii: "-") || bytes[index] == UInt8(ascii: "+") {
      isNegative = bytes[index] == UInt8(ascii: "-")
      index += 1
    }
    // Digits as one integer and the count of those after the point. Past 30 digits nothing is told apart.
    var digits: Wide = 0
    var digitCount = 0
    var exponent = 0
    var isFraction = false
    while index < bytes.count {
      let byte = bytes[index]
      if byte == UInt8(ascii: "."), !isFraction {
        isFraction = true
      } else if byte >= 48, byte <= 57 {
        digitCount += 1
        if digits < 1_000_000_000_000_000_000_000_000_000_000 {
          digits = digits * 10 + Wide(byte - 48)
          if isFraction { exponent -= 1 }
        } else if !isFraction {
          exponent += 1
        }
      } else {
        break
      }
      index += 1
    }
    guard digitCount > 0 else { return nil }
    guard let (scale, binary, format) = Self.suffix(bytes[index...]) else { return nil }
    exponent += scale + 9
    var value = digits
    for _ in 0..<binary {
      let (product, overflow) = value.multipliedReportingOverflow(by: 1024)
      value = overflow ? Self.unitsMax : product
    }
    var isInexact = false
    if exponent >= 0 {
      for _ in 0..<min(exponent, 64) {
        let (product, overflow) = value.multipliedReportingOverflow(by: 10)
        value = overflow ? Wide.max / 1024 : product
        if overflow { break }
      }
    } else {
      for _ in 0..<min(-exponent, 64) where value != 0 {
        if value % 10 != 0 { isInexact = true }
        value /= 10
      }
    }
    // Finer than a billionth rounds away from zero: asking for something never becomes asking for nothing.
    if isInexact { value += 1 }
    self.init(nanos: isNegative ? -value : value, format: format)
  }

  private static func suffix(_ bytes: ArraySlice<UInt8>) -> (scale: Int, binary: Int, format: Format)? {
    switch String(decoding: bytes, as: UTF8.self) {
    case "": return (0, 0, .decimalSI)
    case "n": return (-9, 0, .decimalSI)
    case "u": return (-6, 0, .decimalSI)
    case "m": return (-3, 0, .decimalSI)
    case "k": return (3, 0, .decimalSI)
    case "M": return (6, 0, .decimalSI)
    case "G": return (9, 0, .decimalSI)
    case "T": return (12, 0, .decimalSI)
    case "P": return (15, 0, .decimalSI)
    case "E": return (18, 0, .decimalSI)
    case "Ki": return (0, 1, .binarySI)
    case "Mi": return (0, 2, .binarySI)
    case "Gi": return (0, 3, .binarySI)
    case "Ti": return (0, 4, .binarySI)
    case "Pi": return (0, 5, .binarySI)
    case "Ei": return (0, 6, .binarySI)
    case let text:
      guard text.first == "e" || text.first == "E", text.utf8.count <= 5, let exponent = Int(text.dropFirst())
      else { return nil }
      return (exponent, 0, .decimalExponent)
    }
  }

  /// Whole units, rounded up: what `1500m` CPUs need is 2.
  public var value: Int64 { Int64(clamping: roundedUp(1_000_000_000)) }
  /// Thousandths, rounded up: CPU in millicores.
  public var milliValue: Int64 { Int64(clamping: roundedUp(1_000_000)) }
  public var isZero: Bool { nanos == 0 }
  public var isNegative: Bool { nanos < 0 }

  private func roundedUp(_ unit: Wide) -> Wide {
    let (quotient, remainder) = nanos.quotientAndRemainder(dividingBy: unit)
    return remainder > 0 ? quotient + 1 : quotient
  }

  public static func + (a: Self, b: Self) -> Self {
    Quantity(nanos: a.nanos + b.nanos, format: a.isZero ? b.format : a.format)
  }
  public static func - (a: Self, b: Self) -> Self {
    Quantity(nanos: a.nanos - b.nanos, format: a.isZero ? b.format : a.format)
  }
  public static func += (a: inout Self, b: Self) { a = a + b }
  public static func -= (a: inout Self, b: Self) { a = a - b }
  public static func < (a: Self, b: Self) -> Bool { a.nanos < b.nanos }
  /// By amount: `1` and `1000m` are equal.
  public static func == (a: Self, b: Self) -> Bool { a.nanos == b.nanos }
  public func hash(into hasher: inout Hasher) { hasher.combine(nanos) }

  /// The canonical form: the largest suffix that leaves no fraction.
  public var description: String {
    if nanos == 0 { return "0" }
    let unit: Wide = 1_000_000_000
    if format == .binarySI, nanos % unit == 0, abs(nanos) >= 1024 * unit {
      var value = nanos / unit
      var power = 0
      while power < 6, value % 1024 == 0 {
        value /= 1024
        power += 1
      }
      return "\(value)" + ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]
    }
    var value = nanos
    var power = -3
    while power < 6, value % 1000 == 0 {
      value /= 1000
      power += 1
    }
    if format == .decimalExponent { return power == 0 ? "\(value)" : "\(value)e\(power * 3)" }
    return "\(value)" + ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][power + 3]
  }

  /// From a field of an object: text or a number.
  public init?(_ json: JSON?) {
    switch json {
    case .string(let text): self.init(text)
    case .integer(let value): self.init(value)
    case .number(let text): self.init(text)
    default: return nil
    }
  }
}

private func abs(_ value: Quantity.Wide) -> Quantity.Wide { value < 0 ? -value : value }

/// Amounts by resource name (`cpu`, `memory`, …), as in `resources.requests` and `status.allocatable`.
public struct ResourceList: Sendable, Hashable {
  public var amounts: [String: Quantity]

  public init(_ amounts: [String: Quantity] = [:]) { self.amounts = amounts }

  /// From a field of an object; what is no quantity is left out.
  public init(_ json: JSON?) {
    amounts = [:]
    for (name, value) in json?.object ?? [:] { amounts[name] = Quantity(value) }
  }

  public subscript(_ name: String) -> Quantity {
    get { amounts[name] ?? Quantity(0) }
    set { amounts[name] = newValue }
  }

  public static func + (a: Self, b: Self) -> Self { Self(a.amounts.merging(b.amounts) { $0 + $1 }) }
  /// The larger of each.
  public func union(_ other: Self) -> Self { Self(amounts.merging(other.amounts) { max($0, $1) }) }
  public var json: JSON { JSON(amounts.mapValues(\.description)) }

  /// What a pod asks for: its containers and long-running init containers together, or its largest init step
  /// if that is more; plus overhead.
  public static func requests(ofPod pod: JSON) -> ResourceList {
    func asked(_ container: JSON) -> ResourceList {
      let limits = ResourceList(container.at("resources", "limits"))
      let requests = ResourceList(container.at("resources", "requests"))
      return ResourceList(limits.amounts.merging(requests.amounts) { $1 })
    }
    let spec = pod.spec
    var total = ResourceList()
    for container in spec["containers"]?.elements ?? [] { total = total + asked(container) }
    var sidecars = ResourceList()
    var peak = ResourceList()
    for container in spec["initContainers"]?.elements ?? [] {
      if container["restartPolicy"]?.string == "Always" {
        sidecars = sidecars + asked(container)
        peak = peak.union(sidecars)
      } else {
        peak = peak.union(sidecars + asked(container))
      }
    }
    total = (total + sidecars).union(peak)
    // Pod-level requests replace the sum for the resources they name.
    let podLevel = ResourceList(spec.at("resources", "requests"))
    total.amounts.merge(podLevel.amounts) { $1 }
    return total + ResourceList(spec["overhead"])
  }
}
