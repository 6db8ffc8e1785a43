// Durations as the clients of Kubernetes write them in messages. Pure.

/// `1.234s`, `345ms`, `1m2.5s`: milliseconds are enough for people.
func planDuration(_ duration: Duration) -> String {
  let milliseconds =
    duration.components.seconds * 1000 + duration.components.attoseconds / 1_000_000_000_000_000
  if milliseconds < 1000 { return "\(max(milliseconds, 0))ms" }
  let (minutes, rest) = (milliseconds / 60_000, milliseconds % 60_000)
  var fraction = String(rest % 1000 + 1000).dropFirst()
  while fraction.hasSuffix("0") { fraction = fraction.dropLast() }
  let seconds = "\(rest / 1000)" + (fraction.isEmpty ? "" : ".\(fraction)") + "s"
  return minutes == 0 ? seconds : "\(minutes)m\(seconds)"
}
