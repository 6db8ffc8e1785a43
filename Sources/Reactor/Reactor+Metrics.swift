// What a reactor counts, labelled with its name.

import Diagnostics

struct ReactorMetrics {
  let channels: Gauge
  let iterations: Counter
  let mailboxFull: Counter
  let channelsFull: Counter
  let timersFull: Counter
  let staleEvents: Counter
  let acceptFailures: Counter

  init(reactor: String, metrics: Metrics = .shared) {
    func counter(_ name: String, _ help: String) -> Counter {
      metrics.counter("weft_reactor_" + name, help, labels: ["reactor"]).child(reactor)
    }
    channels = metrics.gauge(
      "weft_reactor_open_descriptors", "Descriptors registered with the reactor.", labels: ["reactor"]
    ).child(reactor)
    iterations = counter("iterations_total", "Turns of the event loop.")
    mailboxFull = counter("mailbox_full_total", "Closures refused because the mailbox was full or closed.")
    channelsFull = counter("channels_full_total", "Descriptors refused because the table was full.")
    timersFull = counter("timers_full_total", "Timers refused because the heap was full.")
    staleEvents = counter("stale_events_total", "Events that arrived for a channel already closed.")
    acceptFailures = counter("accept_failures_total", "Failed accepts, mostly for want of descriptors.")
  }
}
