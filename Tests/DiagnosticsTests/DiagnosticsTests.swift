// Metrics text, timestamps and error lines as people and Prometheus read them.
import Diagnostics
import Testing

@Test func `metrics render as Prometheus text`() {
  let metrics = Metrics()
  metrics.counter("a_total", "Things.", labels: ["kind"]).child("x\"y").increment(by: 3)
  metrics.gauge("b", "Level.").child().set(1.5)
  let histogram = metrics.histogram("c_seconds", "Time.", bounds: [0.1, 1]).child()
  histogram.observe(0.05)
  histogram.observe(5)
  #expect(
    metrics.text() == """
      # HELP a_total Things.
      # TYPE a_total counter
      a_total{kind="x\\"y"} 3
      # HELP b Level.
      # TYPE b gauge
      b 1.5
      # HELP c_seconds Time.
      # TYPE c_seconds histogram
      c_seconds_bucket{le="0.1"} 1
      c_seconds_bucket{le="1"} 1
      c_seconds_bucket{le="+Inf"} 2
      c_seconds_sum 5.05
      c_seconds_count 2

      """)
}

@Test func `a family past its bound counts into one overflow child`() {
  let family = Metrics().counter("d_total", "Bounded.", labels: ["name"])
  for index in 0..<(MetricFamily<Counter>.childrenMax + 10) { family.child("n\(index)").increment() }
  #expect(family.child("overflow").current == 10)
}

@Test(arguments: [
  (Int64(0), "1970-01-01T00:00:00Z"), (951_782_400, "2000-02-29T00:00:00Z"),
  (1_795_235_101, "2026-11-21T04:25:01Z"),
  (4_102_444_799, "2099-12-31T23:59:59Z"),
])
func `times are written and read as RFC 3339`(seconds: Int64, text: String) {
  #expect(Timestamp.text(seconds: seconds) == text)
  #expect(Timestamp.parse(text)?.seconds == seconds)
}

@Test func `offsets and fractions are understood and nonsense is refused`() {
  #expect(Timestamp.parse("2026-11-21T05:25:01.5+01:00")?.seconds == 1_795_235_101)
  #expect(Timestamp.parse("2026-11-21T05:25:01.5+01:00")?.nanoseconds == 500_000_000)
  #expect(Timestamp.parse("2026-11-21") == nil && Timestamp.parse("2026-13-21T05:25:01Z") == nil)
  #expect(Timestamp.parse("2026-11-21T05:25:01Zx") == nil && Timestamp.parse("2026-11-21T05:25:01.Z") == nil)
}
