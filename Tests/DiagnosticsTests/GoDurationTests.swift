// Durations as Go's `time` package reads and writes them.
import Diagnostics
import FuzzLab
import Testing

@Suite struct GoDurationTests {
  @Test(
    arguments: [
      ("0", 0), ("-0", 0), ("0s", 0), ("1ns", 1), ("3us", 3000), ("3\u{b5}s", 3000), ("3\u{3bc}s", 3000),
      ("250ms", 250_000_000), ("1m0s", 60_000_000_000), ("1h2m3.5s", 3_723_500_000_000),
      ("+5s", 5_000_000_000), ("-1.5h", -5_400_000_000_000), (".5s", 500_000_000), ("5.s", 5_000_000_000),
      ("0.3333333333333333333h", 1_200_000_000_000), ("1h1h", 7_200_000_000_000),
      ("9223372036854775807ns", Int64.max), ("2562047h47m16.854775807s", Int64.max),
    ] as [(String, Int64)])
  func `every unit, sign and fraction of Go's is read to the nanosecond`(text: String, nanoseconds: Int64) {
    #expect(GoDuration.parse(text) == .nanoseconds(nanoseconds))
  }

  @Test(
    arguments: [
      "", "5", "s", "-", "+", ".", ".s", "-.s", "1d", "1 s", "1s ", "1S", "--1s", "1e9h", "1.2.3s", "٣s",
      "9223372036854775808ns", "2562047h47m16.854775808s", "99999999999999999999h", "5124095h", "1h-1m",
    ])
  func `what Go refuses is refused`(text: String) {
    #expect(GoDuration.parse(text) == nil)
    #expect(GoDuration.seconds(text) == nil && GoDuration.wholeSeconds(text) == nil)
  }

  @Test func `whole seconds are rounded up, and nothing negative is seconds`() {
    #expect(GoDuration.wholeSeconds("250ms") == 1 && GoDuration.wholeSeconds("1h2m3.5s") == 3724)
    #expect(GoDuration.wholeSeconds("1m0s") == 60 && GoDuration.wholeSeconds("0") == 0)
    #expect(GoDuration.seconds("1.5s") == 1.5 && GoDuration.seconds("1h30m") == 5400)
    #expect(GoDuration.seconds("-1s") == nil && GoDuration.wholeSeconds("-1ns") == nil)
  }

  @Test(
    arguments: [
      (0, "0s"), (1, "1ns"), (1100, "1.1µs"), (2_200_000, "2.2ms"), (100_000_000, "100ms"),
      (1_500_000_000, "1.5s"), (60_000_000_000, "1m0s"), (3_723_000_000_000, "1h2m3s"),
      (245_004_000_000, "4m5.004s"), (-90_000_000_000, "-1m30s"), (.max, "2562047h47m16.854775807s"),
    ] as [(Int64, String)])
  func `a duration is written as Go prints it, and is read back`(nanoseconds: Int64, text: String) {
    #expect(GoDuration.text(.nanoseconds(nanoseconds)) == text)
    #expect(GoDuration.parse(text) == .nanoseconds(nanoseconds))
  }

  @Test func `no text, however broken, traps`() {
    let letters = Array("0123456789.+-nuµmsh٣é\u{301} ")
    var random = SeededNumbers(1)
    for _ in 0..<20_000 {
      let text = String(
        (0..<Int.random(in: 0...24, using: &random)).map { _ in letters.randomElement(using: &random) ?? "0" }
      )
      guard let duration = GoDuration.parse(text) else { continue }
      #expect(GoDuration.parse(GoDuration.text(duration)) == duration, "\(text)")
    }
  }
}
