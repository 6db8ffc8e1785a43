// Schedules, time zones and CronJobs. Times are given, so nothing here waits for a clock.

import ClusterClient
import ClusterObjects
import Diagnostics
import FuzzLab
import Testing

@testable import ClusterControllers

private func seconds(_ text: String) -> Int64 { Timestamp.parse(text)?.seconds ?? 0 }

/// A zone file of version 2 with no changes and this rule.
private func zoneFile(_ rule: String) -> [UInt8] {
  func number(_ value: Int32) -> [UInt8] { withUnsafeBytes(of: value.bigEndian, Array.init) }
  let header = Array("TZif2".utf8) + [UInt8](repeating: 0, count: 15)
  let part = header + [0, 0, 0, 0, 1, 4].flatMap(number) + number(0) + [0, 0] + Array("UTC\0".utf8)
  return part + part + Array("\n\(rule)\n".utf8)
}

@Suite struct CronScheduleTests {
  @Test(arguments: [
    ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
    ("* * * * *", "2026-01-01T00:00:59Z", "2026-01-01T00:01:00Z"),
    ("*/15 * * * *", "2026-01-01T00:50:00Z", "2026-01-01T01:00:00Z"),
    ("5,35 8-10 * * *", "2026-01-01T10:36:00Z", "2026-01-02T08:05:00Z"),
    ("30 1/6 * * *", "2026-01-01T14:00:00Z", "2026-01-01T19:30:00Z"),
    ("0 12 * JAN-mar Mon", "2026-03-30T12:00:00Z", "2027-01-04T12:00:00Z"),
    ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
    // Day of month or day of week, when both are given.
    ("0 0 13 * Fri", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
    ("0 0 13 * *", "2026-01-01T00:00:00Z", "2026-01-13T00:00:00Z"),
    ("0 0 */2 * Mon", "2026-01-05T00:00:00Z", "2026-01-07T00:00:00Z"),
    ("0 0 ? * 0", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
    ("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
    ("@monthly", "2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z"),
    ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
    ("@daily", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
    ("@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
    ("@every 1h30m", "2026-01-01T00:00:10Z", "2026-01-01T01:30:10Z"),
  ])
  func `a schedule comes round`(text: String, after: String, next: String) throws {
    let schedule = try #require(CronSchedule(text))
    #expect(schedule.next(after: seconds(after)) == seconds(next))
  }

  @Test(arguments: [
    "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7",
    "5-1 * * * *",
    "*/0 * * * *", "1-2-3 * * * *", "*/1/2 * * * *", "x * * * *", ", * * * *", "-1 * * * *", "@never",
    "@every",
    "@every x", "@every 5", "99999999999999999999 * * * *",
  ])
  func `what is no schedule is refused`(text: String) { #expect(CronSchedule(text) == nil) }

  @Test func `a day that never comes is given up`() throws {
    #expect(try #require(CronSchedule("0 0 31 2 *")).next(after: workloadEpoch) == nil)
  }

  @Test func `no text makes the parser or the search fail`() {
    let corpus = ["*/15 1-5,7 ? jan-DEC/2 mon", "@every 1h30m", "0 0 29 2 *", "@yearly"].map {
      Array($0.utf8)
    }
    for bytes in mutants(of: corpus, words: ["*", "/", "-", ",", "59", "sun"], count: 4000, seed: 7) {
      guard let schedule = CronSchedule(String(decoding: bytes, as: UTF8.self)) else { continue }
      if let next = schedule.next(after: workloadEpoch) { #expect(next > workloadEpoch) }
    }
  }
}

@Suite struct TimeZoneTests {
  let paris = "CET-1CEST,M3.5.0,M10.5.0/3"

  @Test(arguments: [
    ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-29T00:59:59Z", 3600),
    ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-29T01:00:00Z", 7200),
    ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-10-25T00:59:59Z", 7200),
    ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-10-25T01:00:00Z", 3600),
    ("EST5EDT,M3.2.0,M11.1.0", "2026-07-01T00:00:00Z", -14400),
    ("EST5EDT,M3.2.0,M11.1.0", "2026-12-01T00:00:00Z", -18000),
    // The southern summer spans the new year.
    ("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-01-01T00:00:00Z", 39600),
    ("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-06-01T00:00:00Z", 36000),
    ("<+0530>-5:30", "2026-06-01T00:00:00Z", 19800), ("JST-9", "2026-06-01T00:00:00Z", 32400),
    ("XXX0YYY,J60,J61/0", "2028-03-01T12:00:00Z", 3600),
  ])
  func `a rule says the offset of a moment`(rule: String, at: String, offset: Int) throws {
    let zone = try #require(TimeZoneRules(tzif: zoneFile(rule)))
    #expect(zone.offset(at: seconds(at)) == offset)
  }

  @Test func `an hour that is skipped is skipped, and one that comes twice rings twice`() throws {
    let zone = try #require(TimeZoneRules(tzif: zoneFile(paris)))
    let nightly = try #require(CronSchedule("30 2 * * *"))
    // 29 March 2026 has no 02:30 in Paris.
    #expect(
      nightly.next(after: seconds("2026-03-28T12:00:00Z"), in: zone) == seconds("2026-03-30T00:30:00Z"))
    let daily = try #require(CronSchedule("0 0 * * *"))
    #expect(daily.next(after: seconds("2026-03-29T12:00:00Z"), in: zone) == seconds("2026-03-29T22:00:00Z"))
    let hourly = try #require(CronSchedule("30 * * * *"))
    var time = seconds("2026-10-25T00:00:00Z")
    var rings: [Int64] = []
    for _ in 0..<3 {
      time = try #require(hourly.next(after: time, in: zone))
      rings.append(time)
    }
    #expect(rings == ["00:30", "01:30", "02:30"].map { seconds("2026-10-25T\($0):00Z") })
  }

  @Test func `files of this machine agree with their rules`() throws {
    let zones = TimeZones()
    // A machine without zone files knows UTC alone.
    guard let berlin = zones.zone("Europe/Berlin"), let kolkata = zones.zone("Asia/Kolkata") else {
      #expect(zones.zone("UTC") == .utc)
      return
    }
    #expect(berlin.offset(at: seconds("1985-07-01T00:00:00Z")) == 7200)
    #expect(berlin.offset(at: seconds("2040-01-01T00:00:00Z")) == 3600)
    #expect(kolkata.offset(at: seconds("2026-01-01T00:00:00Z")) == 19800)
  }

  @Test(arguments: [
    "", "/etc/passwd", "../shadow", "Europe/../../x", "Mars/Olympus", "a\0b", "Europe/", "-x",
  ])
  func `names that are no zones lead nowhere`(name: String) { #expect(TimeZones().zone(name) == nil) }

  @Test func `no file makes the reader fail`() {
    var corpus = [zoneFile(paris), zoneFile("<+03>-3")]
    let changes: [UInt8] =
      Array("TZif".utf8) + [UInt8](repeating: 0, count: 16)
      + [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 4]
      + [0, 0, 0, 9, 0, 0, 1, 0, 0, 1] + [0, 0, 14, 16, 0, 0, 0, 0, 28, 32, 1, 0] + Array("CET\0".utf8)
    #expect(TimeZoneRules(tzif: changes)?.offset(at: 10) == 3600)
    #expect(TimeZoneRules(tzif: changes)?.offset(at: 300) == 7200)
    corpus.append(changes)
    for bytes in mutants(of: corpus, words: ["TZif", "M3.5.0", "J366"], count: 6000, seed: 11) {
      _ = TimeZoneRules(tzif: bytes)?.offset(at: workloadEpoch)
    }
  }
}

@Suite struct CronJobTests {
  func cronJob(_ schedule: String = "*/5 * * * *", spec: JSON = [:]) -> JSON {
    var all: JSON = [
      "schedule": JSON(schedule), "concurrencyPolicy": "Allow",
      "jobTemplate": [
        "metadata": ["labels": ["team": "a"]],
        "spec": ["template": ["spec": ["containers": [["name": "c", "image": "a"]]]]],
      ],
    ]
    for (field, value) in spec.object ?? [:] { all[field] = value }
    var cron = workload("CronJob", "tick", group: "batch/v1")
    cron["spec"] = all
    return cron
  }

  func job(_ name: String, of cron: JSON, ended: String? = nil, at time: Int64 = workloadEpoch) -> JSON {
    var job = workload("Job", name, group: "batch/v1")
    job.set([cron.controllerReferenceToThis], at: "metadata", "ownerReferences")
    job.set(JSON(Timestamp.text(seconds: time)), at: "status", "startTime")
    if let ended {
      job.setCondition(ended, "True", reason: "", message: "", now: Timestamp.text(seconds: time))
      if ended == "Complete" { job.set(JSON(Timestamp.text(seconds: time)), at: "status", "completionTime") }
    }
    return job
  }

  func plan(_ cron: JSON, _ jobs: [JSON] = [], at offset: Int64, zone: TimeZoneRules? = nil) -> CronJobPlan {
    planCronJob(cron, jobs: jobs, now: workloadEpoch + offset) { _ in zone }
  }

  @Test func `at its time a Job is made, once, named after the minute`() {
    let cron = cronJob()
    #expect(plan(cron, at: 299).create == nil)
    #expect(plan(cron, at: 299).checkIn == 1)
    let due = plan(cron, at: 301)
    #expect(due.create?.name == "tick-\((workloadEpoch + 300) / 60)")
    #expect(due.create?.labels == ["team": "a"] && due.create?.isControlled(by: cron) == true)
    #expect(
      due.create?.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2026-01-01T00:05:00Z")
    #expect(due.checkIn == 299 && due.scheduledAt == workloadEpoch + 300)
    var later = cron
    later.set(JSON(Timestamp.text(seconds: workloadEpoch + 300)), at: "status", "lastScheduleTime")
    #expect(plan(later, at: 302).create == nil)
    #expect(plan(later, at: 601).create != nil)
  }

  @Test func `of many missed times the last one counts, and somebody is told`() {
    let plan = plan(cronJob("* * * * *"), at: 90_000)
    #expect(plan.scheduledAt == workloadEpoch + 90_000)
    #expect(plan.events.map(\.reason) == ["TooManyMissedTimes"])
  }

  @Test func `what is later than its deadline does not begin`() {
    let cron = cronJob("0 * * * *", spec: ["startingDeadlineSeconds": 60])
    #expect(plan(cron, at: 3659).create != nil)
    #expect(plan(cron, at: 3660).create == nil)
    #expect(plan(cronJob("* * * * *", spec: ["startingDeadlineSeconds": 200]), at: 90_000).events.isEmpty)
  }

  @Test(arguments: [("Allow", true, 0, 2), ("Forbid", false, 0, 1), ("Replace", true, 1, 1)])
  func `the policy says what happens while the last Job runs`(
    policy: String, creates: Bool, replaces: Int, active: Int
  ) {
    var cron = cronJob(spec: ["concurrencyPolicy": JSON(policy)])
    let running = job("tick-1", of: cron)
    cron.set(.array([jobReference(running)]), at: "status", "active")
    let plan = plan(cron, [running], at: 301)
    #expect((plan.create != nil) == creates)
    #expect(plan.replace.count == replaces)
    #expect((plan.status["active"]?.elements.count ?? 0) + (creates ? 1 : 0) == active)
    #expect(plan.events.contains { $0.reason == "JobAlreadyActive" } == (policy == "Forbid"))
  }

  @Test func `ended Jobs leave the list, and the oldest past the limits go`() {
    var cron = cronJob(spec: ["successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0])
    let jobs = [
      job("a", of: cron, ended: "Complete", at: workloadEpoch + 1),
      job("b", of: cron, ended: "Complete", at: workloadEpoch + 2),
      job("c", of: cron, ended: "Failed", at: workloadEpoch + 3),
    ]
    cron.set(.array(jobs.map(jobReference)), at: "status", "active")
    let plan = plan(cron, jobs, at: 10)
    #expect(plan.expired.map(\.name) == ["a", "c"])
    #expect(plan.status["active"] == nil)
    #expect(plan.status["lastSuccessfulTime"] == "2026-01-01T00:00:02Z")
    #expect(plan.events.map(\.reason) == ["SawCompletedJob", "SawCompletedJob", "SawCompletedJob"])
  }

  @Test(arguments: ["Allow", "Forbid", "Replace"])
  func `a Job that somebody made from it is told of, and holds nothing up`(policy: String) {
    let cron = cronJob(spec: ["concurrencyPolicy": JSON(policy)])
    let plan = plan(cron, [job("mine", of: cron)], at: 301)
    #expect(plan.create != nil && plan.replace.isEmpty && plan.status["active"] == nil)
    #expect(plan.events.map(\.reason) == ["UnexpectedJob"])
  }

  @Test func `a suspended one makes nothing`() {
    #expect(plan(cronJob(spec: ["suspend": true]), at: 301).create == nil)
  }

  @Test func `times are those of the zone, and an unknown zone is told`() throws {
    let zone = try #require(TimeZoneRules(tzif: zoneFile("<+0530>-5:30")))
    let cron = cronJob("0 6 * * *", spec: ["timeZone": "Asia/Kolkata"])
    let due = plan(cron, at: 1801, zone: zone)
    #expect(due.scheduledAt == workloadEpoch + 1800)
    #expect(
      due.create?.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"]
        == "2026-01-01T06:00:00+05:30")
    let unknown = plan(cron, at: 1801)
    #expect(unknown.create == nil && unknown.events.map(\.reason) == ["UnknownTimeZone"])
  }

  @Test func `a schedule that cannot be read is told`() {
    #expect(plan(cronJob("x"), at: 1).events.map(\.reason) == ["UnparseableSchedule"])
  }
}

@Suite(.serialized, .timeLimit(.minutes(10))) struct CronJobClusterTests {
  @Test func `a CronJob makes its Job, whose pods run, and remembers when`() async throws {
    var settings = ControllerSettings()
    settings.clock = ControllerClock { .init(steady: workloadEpoch + 301, wall: workloadEpoch + 301) }
    let cluster = TestCluster(settings: settings, runsPods: false)
    let finishing = JobClusterTests.finishing(cluster, "Succeeded")
    var cron = CronJobTests().cronJob()
    cron.set("cron-uid", at: "metadata", "uid")
    cron.set(
      [
        "metadata": ["labels": ["job": "tick"]], "spec": ["containers": [["name": "c", "image": "a"]]],
      ], at: "spec", "jobTemplate", "spec", "template")
    cron.set(["matchLabels": ["job": "tick"]], at: "spec", "jobTemplate", "spec", "selector")
    cron.set(1, at: "spec", "jobTemplate", "spec", "completions")
    // As it was made five minutes before: what is created now would have to wait.
    cluster.api.put(.cronJobs, cron)
    #expect(
      await eventually {
        let status = cluster.get(.cronJobs, "tick")?.status ?? .null
        return status["lastScheduleTime"] == "2026-01-01T00:05:00Z" && status["active"] == nil
          && status["lastSuccessfulTime"] != nil
      })
    #expect(cluster.api.objects(.jobs).count == 1)
    _ = finishing
    await cluster.stop()
  }
}
