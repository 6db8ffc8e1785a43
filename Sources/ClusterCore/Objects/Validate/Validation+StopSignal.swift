// `lifecycle.stopSignal`: only where it is said which system the signal is of, and only one of that system's.

extension Validator {
  /// - Parameter path: the container's.
  mutating func stopSignal(_ container: JSON, _ path: FieldPath, system: String) {
    guard let signal = container.at("lifecycle", "stopSignal")?.string else { return }
    let place = path.child("lifecycle", "stopSignal")
    if system.isEmpty {
      add(.forbidden(place, "may not be set for containers with empty `spec.os.name`"))
      return
    }
    let known = system == "windows" ? ["SIGKILL", "SIGTERM"] : Names.stopSignals
    if !known.contains(signal) { add(.notSupported(place, .string(signal), known.sorted())) }
  }
}
