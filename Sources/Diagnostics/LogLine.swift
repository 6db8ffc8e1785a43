// Structured log lines on standard error: one event each, lower case, ids as key=value.
//
//   2026-11-21T04:25:01.123Z info proxy: rules synced services=12 endpoints=31 duration=1.2ms

import Glibc
import Logging
import Synchronization

/// The log handler of every weft process. Writes one line an event with a single `write(2)`, so lines of several
/// threads do not mix. Values with blanks or quotes are quoted.
public struct LineLogHandler: LogHandler {
  public var metadata: Logger.Metadata = [:]
  public var metadataProvider: Logger.MetadataProvider?
  public var logLevel: Logger.Level
  private let label: String

  public init(label: String, level: Logger.Level) {
    self.label = label
    logLevel = level
  }

  public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  public func log(event: LogEvent) {
    var line = "\(Self.timestamp()) \(event.level) \(label): \(event.message)"
    var merged = metadata
    if let provided = metadataProvider?.get() { merged.merge(provided) { $1 } }
    if let own = event.metadata { merged.merge(own) { $1 } }
    for (key, value) in merged.sorted(by: { $0.key < $1.key }) {
      line += " \(key)=\(Self.quoted("\(value)"))"
    }
    line += "\n"
    line.withUTF8 { bytes in _ = write(2, bytes.baseAddress, bytes.count) }
  }

  static func quoted(_ text: String) -> String {
    let plain = text.utf8.allSatisfy {
      $0 > 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "=") && $0 != 0x7f
    }
    if plain, !text.isEmpty { return text }
    var out = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case let control where control.value < 0x20: out += "\\u{\(String(control.value, radix: 16))}"
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out + "\""
  }

  static func timestamp() -> String {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Timestamp.text(seconds: Int64(now.tv_sec), nanoseconds: Int64(now.tv_nsec), fractionDigits: 3)
  }
}

/// Sets the process's logging up. Call once, before the first logger is made.
public func bootstrapLogging(level: Logger.Level) {
  LoggingSystem.bootstrap { LineLogHandler(label: $0, level: level) }
}
