// Resources as whole numbers, so that comparing and adding them costs nanoseconds: thousandths of a CPU,
// bytes, pieces.

import ClusterObjects

/// What a pod asks for or a node has. A value; addition is saturating.
public struct Amounts: Sendable, Equatable {
  /// Thousandths of a CPU.
  public var cpu: Int64 = 0
  /// Bytes.
  public var memory: Int64 = 0
  /// Bytes.
  public var ephemeralStorage: Int64 = 0
  /// Everything else, by name: huge pages, devices.
  public var others: [String: Int64] = [:]

  public init() {}

  /// The pods of `status.allocatable` are kept apart: see `NodeFacts.podsMax`.
  public init(_ list: ResourceList) {
    for (name, amount) in list.amounts where name != "pods" { self[name] = Self.whole(name, amount) }
  }

  private static func whole(_ name: String, _ amount: Quantity) -> Int64 {
    name == "cpu" ? amount.milliValue : amount.value
  }

  public subscript(_ name: String) -> Int64 {
    get {
      switch name {
      case "cpu": cpu
      case "memory": memory
      case "ephemeral-storage": ephemeralStorage
      default: others[name] ?? 0
      }
    }
    set {
      switch name {
      case "cpu": cpu = newValue
      case "memory": memory = newValue
      case "ephemeral-storage": ephemeralStorage = newValue
      default: others[name] = newValue
      }
    }
  }

  public var isZero: Bool {
    cpu == 0 && memory == 0 && ephemeralStorage == 0 && others.allSatisfy { $0.value == 0 }
  }

  /// Names of what is not zero.
  var names: [String] {
    var names: [String] = []
    if cpu != 0 { names.append("cpu") }
    if memory != 0 { names.append("memory") }
    if ephemeralStorage != 0 { names.append("ephemeral-storage") }
    return names + others.filter { $0.value != 0 }.keys.sorted()
  }

  static func += (a: inout Amounts, b: Amounts) { a.combine(b, sum) }
  static func -= (a: inout Amounts, b: Amounts) { a.combine(b) { sum($0, 0 &- $1) } }

  private mutating func combine(_ other: Amounts, _ operation: (Int64, Int64) -> Int64) {
    cpu = operation(cpu, other.cpu)
    memory = operation(memory, other.memory)
    ephemeralStorage = operation(ephemeralStorage, other.ephemeralStorage)
    for (name, amount) in other.others { others[name] = operation(others[name] ?? 0, amount) }
  }
}

/// The sum, or the largest or smallest number when that is too much.
func sum(_ a: Int64, _ b: Int64) -> Int64 {
  let (total, isOver) = a.addingReportingOverflow(b)
  return isOver ? (b > 0 ? .max : .min) : total
}
