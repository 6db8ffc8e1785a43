// Pages of several processes as one.

import Testing

@testable import Diagnostics

@Suite struct MetricsTextTests {
  @Test func `families of both pages stand together once, and the same series are added`() {
    let (a, b) = (Metrics(), Metrics())
    a.counter("both", "Help.", labels: ["who"]).child("a b\"}").increment(by: 3)
    b.counter("both", "Help.", labels: ["who"]).child("a b\"}").increment(by: 4)
    b.counter("both", "Help.", labels: ["who"]).child("c").increment()
    a.gauge("only_a", "").child().set(1.5)
    b.histogram("only_b", "Times.", bounds: [1]).child().observe(0.5)
    var page = MetricsText()
    page.add(a.text())
    page.add(b.text())
    #expect(
      page.text == """
        # HELP both Help.
        # TYPE both counter
        both{who="a b\\"}"} 7
        both{who="c"} 1
        # HELP only_a 
        # TYPE only_a gauge
        only_a 1.5
        # HELP only_b Times.
        # TYPE only_b histogram
        only_b_bucket{le="1"} 1
        only_b_bucket{le="+Inf"} 1
        only_b_sum 0.5
        only_b_count 1

        """)
  }

  @Test func `a page with others is theirs too, and without them what it was`() {
    let metrics = Metrics()
    metrics.counter("one", "Help.").child().increment()
    #expect(metrics.wholeText() == metrics.text())
    metrics.include { ["# HELP one Help.\n# TYPE one counter\none 2\n", "no sample at all\n"] }
    #expect(metrics.wholeText() == "# HELP one Help.\n# TYPE one counter\none 3\n")
    #expect(metrics.text() == "# HELP one Help.\n# TYPE one counter\none 1\n")
  }
}
