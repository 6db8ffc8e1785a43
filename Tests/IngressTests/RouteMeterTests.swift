// What requests were, by route: names and labels that dashboards for ingress-nginx ask for, exact numbers from any worker, and a
// bound. And how they leave the data plane's process.

import Addresses
import Diagnostics
import Glibc
import Patterns
import Reactor
import Synchronization
import Testing

@testable import Ingress

@Suite struct RouteMeterTests {
  private let series = RouteSeries(
    ingress: "web", namespace: "demo", service: "svc", host: "a.b", path: "/x", method: "GET", status: "200")
  private let labels =
    #"ingress="web",namespace="demo",service="svc",host="a.b",path="/x",method="GET",status="200",canary="""#

  @Test func `workers' numbers come together under ingress-nginx's names, none lost and none twice`() {
    let metrics = Metrics()
    let workers = [RouteMeters(metrics), RouteMeters(metrics)]
    var measures = RequestMeasures(whole: 7_000_000)
    (measures.response, measures.header, measures.connect) = (6_000_000, 5_000_001, 0)
    (measures.requestBytes, measures.responseBytes) = (100, 101)
    for meters in workers { for _ in 0..<3 { meters.meter(series).note(measures) } }
    _ = metrics.text()
    // Between two readings only what is new is added.
    workers[0].meter(series).note(RequestMeasures(whole: 20_000_000_000))
    let text = metrics.text()
    let name = "nginx_ingress_controller_"
    #expect(text.contains("\(name)requests{\(labels)} 7\n"))
    for line in [
      #"request_duration_seconds_bucket{LABELS,le="0.005"} 0"#,
      #"request_duration_seconds_bucket{LABELS,le="0.01"} 6"#,
      #"request_duration_seconds_bucket{LABELS,le="10"} 6"#,
      #"request_duration_seconds_bucket{LABELS,le="+Inf"} 7"#, "request_duration_seconds_sum{LABELS} 20.042",
      "request_duration_seconds_count{LABELS} 7",
      #"header_duration_seconds_bucket{LABELS,le="0.005"} 0"#, "header_duration_seconds_count{LABELS} 6",
      #"connect_duration_seconds_bucket{LABELS,le="0.005"} 6"#,
      #"response_duration_seconds_bucket{LABELS,le="0.01"} 6"#,
      #"request_size_bucket{LABELS,le="100"} 6"#, "request_size_sum{LABELS} 600",
      #"response_size_bucket{LABELS,le="100"} 0"#, #"response_size_bucket{LABELS,le="+Inf"} 6"#,
    ] {
      #expect(text.contains("\(name)\(line.replacing("LABELS", with: labels))\n"), "\(line)")
    }
    #expect(text == metrics.text())
  }

  @Test func `buckets of sizes end where they say`() {
    for (index, bound) in RouteMeter.sizeBounds.enumerated() {
      let metrics = Metrics()
      let meters = RouteMeters(metrics)
      var measures = RequestMeasures()
      for bytes in [UInt64(bound), UInt64(bound) + 1] {
        measures.requestBytes = bytes
        meters.meter(series).note(measures)
      }
      _ = metrics.text()
      let histogram = metrics.histogram(
        "nginx_ingress_controller_request_size", "", labels: RouteSeries.labels
      ).child(series.values)
      #expect(histogram.bounds == RouteMeter.sizeBounds)
      #expect(histogram.snapshot.counts[index] == 1 && histogram.snapshot.counts[index + 1] == 1)
    }
  }

  @Test func `buckets end where they say`() {
    for (index, bound) in RouteMeter.timeBounds.enumerated() {
      let metrics = Metrics()
      let meters = RouteMeters(metrics)
      let nanoseconds = UInt64((bound * 1e9).rounded())
      meters.meter(series).note(RequestMeasures(whole: nanoseconds))
      meters.meter(series).note(RequestMeasures(whole: nanoseconds + 1))
      _ = metrics.text()
      let histogram = metrics.histogram(
        "nginx_ingress_controller_request_duration_seconds", "", labels: RouteSeries.labels
      ).child(series.values)
      #expect(histogram.bounds == RouteMeter.timeBounds)
      #expect(histogram.snapshot.counts[index] == 1 && histogram.snapshot.counts[index + 1] == 1)
    }
  }

  @Test func `series are bounded, and those of an Ingress that is gone make room`() {
    let metrics = Metrics()
    let meters = RouteMeters(metrics, seriesMax: 20)
    for index in 0..<30 {
      var one = series
      (one.path, one.ingress) = ("/\(index)", index % 2 == 0 ? "even" : "odd")
      meters.meter(one).note(RequestMeasures())
    }
    let full = metrics.text()
    #expect(full.contains(#"requests{ingress="overflow",namespace="overflow""#))
    #expect(full.contains(#"status="overflow",canary="overflow"} 10"#))
    let odd = RouteBackend(
      namespace: "demo", ingress: "odd", service: "svc", servicePort: "80", endpoints: [])
    meters.keep(only: [odd])
    let half = metrics.text()
    #expect(!half.contains(#"ingress="even""#) && half.contains(#"ingress="odd""#))
    var new = series
    new.path = "/new"
    meters.meter(new).note(RequestMeasures())
    #expect(metrics.text().contains(#"path="/new""#))
  }

  @Test func `who a canary served is counted by its name, as dashboards for ingress-nginx ask for it`() throws
  {
    let (main, new) = (try Backend("main"), try Backend("new"))
    var canary = RouteBackend(
      namespace: "demo", ingress: "web", service: "new", servicePort: "80", endpoints: [new.endpoint])
    canary.isCanary = true
    // What `canary-by-header-pattern` is planned as.
    let wanted = RouteConditions(fields: [FieldMatch("x-version", .pattern(try BytePattern("^v[0-9]+$")))])
    let ingress = try TestIngress(
      RouteTable(
        backends: [
          RouteBackend(
            namespace: "demo", ingress: "web", service: "web", servicePort: "80", endpoints: [main.endpoint]),
          canary,
        ],
        hosts: [
          RouteHost(
            name: "",
            paths: [
              RoutePath(path: "/", kind: .prefix, backend: 1, conditions: wanted),
              RoutePath(path: "/", kind: .prefix, backend: 0),
            ])
        ]))
    defer {
      ingress.stop()
      main.kill()
      new.kill()
    }
    let client = Client(ingress.endpoint)
    for (version, answer) in [("v2", "new"), ("v17", "new"), ("two", "main")] {
      client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Version: \(version)\r\n\r\n")
      #expect(text(client.response()?.body) == answer)
    }
    func counted(_ service: String, _ canary: String) -> String {
      "nginx_ingress_controller_requests{ingress=\"web\",namespace=\"demo\",service=\"\(service)\",host=\"\",path=\"/\","
        + "method=\"GET\",status=\"200\",canary=\"\(canary)\"}"
    }
    #expect(eventually { ingress.metrics.text().contains(counted("new", "demo-new-80") + " 2\n") })
    #expect(eventually { ingress.metrics.text().contains(counted("web", "") + " 1\n") })
  }

  @Test func `a request through the relay is measured, each time on its own`() throws {
    let backend = try Backend("m")
    let ingress = try TestIngress(everything(to: [backend.endpoint]))
    defer {
      ingress.stop()
      backend.kill()
    }
    let client = Client(ingress.endpoint)
    let request = "GET /large/1000 HTTP/1.1\r\nHost: web.demo\r\n\r\n"
    let first = client.get("/large/1000")
    _ = client.get("/large/1000")
    let labels =
      #"{ingress="web",namespace="demo",service="web",host="",path="/",method="GET",status="200",canary=""}"#
    let name = "nginx_ingress_controller_"
    let answer = (first?.head.utf8.count ?? 0) + 1000
    let lines =
      [
        "requests\(labels) 2", "request_size_sum\(labels) \(2 * request.utf8.count)",
        "response_size_sum\(labels) \(2 * answer)",
      ] + ["request", "response", "header", "connect"].map { "\($0)_duration_seconds_count\(labels) 2" }
    // One after the other is raised by the reactor's thread.
    for line in lines {
      #expect(eventually { ingress.metrics.text().contains("\(name)\(line)\n") }, "\(line)")
    }
  }

  @Test func `the parent reads a data plane's metrics, and is not held up by one that is silent`() throws {
    let (pipe, child) = try IngressMetricsPipe.pair()
    let metrics = Metrics()
    metrics.counter("one", "Help.").child().increment()
    try MetricsAnswerer(child, metrics)
    #expect(pipe.text() == metrics.text())
    metrics.counter("one", "Help.").child().increment(by: 5)
    #expect(pipe.text()?.contains("one 6\n") == true)
    pipe.close()
    #expect(pipe.text() == nil)
    let (other, silent) = try IngressMetricsPipe.pair()
    // It reads the question and never answers; asked again, nobody waits.
    #expect(other.text() == nil)
    let begin = ContinuousClock.now
    for _ in 0..<1000 { #expect(other.text() == nil) }
    #expect(begin.duration(to: .now) < .seconds(60))
    close(silent)
  }
}
