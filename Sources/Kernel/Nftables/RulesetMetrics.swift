// What happens between planners and the kernel, counted.

import Diagnostics

struct RulesetMetrics: Sendable {
  let retries: Counter
  let reads: Counter
  let foreignChanges: Counter
  let repairs: Counter

  init(_ metrics: Metrics) {
    retries =
      metrics.counter(
        "weft_ruleset_retries_total",
        "Transactions tried again because the kernel was busy or short of memory."
      ).child()
    reads =
      metrics.counter(
        "weft_ruleset_reads_total", "Times that our tables were read back from the kernel as a whole."
      ).child()
    foreignChanges =
      metrics.counter(
        "weft_ruleset_foreign_changes_total",
        "Times that another program was seen to have changed some table."
      ).child()
    repairs =
      metrics.counter(
        "weft_ruleset_repaired_operations_total",
        "Elements, rules and chains put back after a foreign change."
      ).child()
  }
}
