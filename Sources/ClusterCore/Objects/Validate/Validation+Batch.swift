// Jobs and CronJobs.

extension Validator {
  static let job = Rules(
    create: { validator, job in
      let path: FieldPath = "spec"
      validator.jobSpec(job.spec, path)
      let selector = job.spec["selector"]
      if job.spec["manualSelector"]?.bool == true {
        guard let selector else {
          validator.add(.required(path.child("selector")))
          return
        }
        validator.labelSelector(selector, path.child("selector"))
      } else if selector != ["matchLabels": [JobStrategy.uidLabels[0]: .string(job.uid)]] {
        validator.add(.invalid(path.child("selector"), selector ?? .null, "`selector` not auto-generated"))
      }
      let labels = job.at("spec", "template", "metadata", "labels")
      if let selector, let parsed = try? LabelSelector(selector), !parsed.matches(labels?.stringMap ?? [:]) {
        validator.add(
          .invalid(
            path.child("template", "metadata", "labels"), labels ?? .null,
            "`selector` does not match template `labels`"))
      }
    },
    update: { validator, new, old in
      let path: FieldPath = "spec"
      for field in [
        "selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy",
        "successPolicy",
      ] { validator.immutable(new.spec[field], old.spec[field], path.child(field)) }
      // An indexed job may grow or shrink when both numbers move together.
      let isElastic =
        new.spec["completionMode"] == "Indexed" && new.spec["completions"] == new.spec["parallelism"]
        && new.spec["completions"] != nil && old.spec["completions"] != nil
      if !isElastic {
        validator.immutable(new.spec["completions"], old.spec["completions"], path.child("completions"))
      }
      // Where its pods may go is open while it has not begun.
      let isHeld = old.spec["suspend"] == true && old.status["startTime"] == nil
      func fixed(_ job: JSON) -> JSON? {
        guard isHeld, var template = job.spec["template"] else { return job.spec["template"] }
        for field in ["nodeSelector", "affinity", "tolerations", "schedulingGates"] {
          template.set(nil, at: "spec", field)
        }
        for field in ["labels", "annotations"] { template.set(nil, at: "metadata", field) }
        return template
      }
      if fixed(new) != fixed(old) {
        validator.add(.invalid(path.child("template"), new.spec["template"] ?? .null, "field is immutable"))
      }
    })

  private static let parallelismMax = 100_000

  mutating func jobSpec(_ spec: JSON, _ path: FieldPath) {
    for field in [
      "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
      "backoffLimitPerIndex", "maxFailedIndexes",
    ] { notNegative(spec[field], path.child(field)) }
    let isIndexed = spec["completionMode"] == "Indexed"
    if isIndexed {
      if spec["completions"] == nil {
        add(.required(path.child("completions"), "when completion mode is Indexed"))
      }
      if let count = spec["parallelism"]?.integer, count > Self.parallelismMax {
        add(
          .invalid(
            path.child("parallelism"), .integer(count),
            "must be less than or equal to \(Self.parallelismMax) when completion mode is Indexed"))
      }
    } else {
      for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        if let value = spec[field] {
          add(.invalid(path.child(field), value, "requires indexed completion mode"))
        }
      }
      if let policy = spec["successPolicy"] {
        add(.invalid(path.child("successPolicy"), policy, "requires indexed completion mode"))
      }
    }
    if spec["maxFailedIndexes"] != nil, spec["backoffLimitPerIndex"] == nil {
      add(.required(path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
    }
    if let manager = spec["managedBy"]?.string {
      check(manager, at: path.child("managedBy"), Names.qualifiedNameProblem)
    }
    podTemplate(spec["template"] ?? [:], path.child("template"))
    let place = path.child("template", "spec", "restartPolicy")
    let policy = spec.at("template", "spec", "restartPolicy")?.string ?? ""
    if policy != "OnFailure", policy != "Never" {
      add(.required(place, "valid values: \"OnFailure\", \"Never\""))
    } else if spec["podFailurePolicy"] != nil, policy != "Never" {
      add(
        .invalid(
          place, .string(policy), "only \"Never\" is supported when podFailurePolicy is specified"))
    }
    failurePolicy(spec, path.child("podFailurePolicy", "rules"))
  }

  private static let failureRulesMax = 20

  private mutating func failurePolicy(_ spec: JSON, _ path: FieldPath) {
    let rules = spec.at("podFailurePolicy", "rules")?.elements ?? []
    if rules.count > Self.failureRulesMax {
      add(FieldError(.tooMany, path, nil, "must have at most \(Self.failureRulesMax) items"))
    }
    for (position, rule) in rules.prefix(Self.failureRulesMax).enumerated() {
      let place = path.index(position)
      let hasCodes = rule["onExitCodes"] != nil
      let hasConditions = !(rule["onPodConditions"]?.elements.isEmpty ?? true)
      if hasCodes, hasConditions {
        add(.invalid(place, "", "specifying both OnExitCodes and OnPodConditions is not supported"))
      } else if !hasCodes, !hasConditions {
        add(.invalid(place, "", "specifying one of OnExitCodes and OnPodConditions is required"))
      }
      if rule["action"] == "FailIndex", spec["backoffLimitPerIndex"] == nil {
        add(.invalid(place.child("action"), "FailIndex", "requires the backoffLimitPerIndex to be set"))
      }
      if rule.at("onExitCodes", "operator") == "In",
        (rule.at("onExitCodes", "values")?.elements ?? []).contains(0)
      {
        add(.invalid(place.child("onExitCodes", "values"), 0, "must not be 0 for the In operator"))
      }
    }
  }

  // MARK: - CronJobs

  /// The names of its jobs append eleven characters.
  private static let cronNameMax = 52

  static let cronJob = Rules(create: { validator, cron in
    let path: FieldPath = "spec"
    if cron.name.utf8.count > cronNameMax {
      validator.add(
        .invalid("metadata.name", .string(cron.name), "must be no more than 52 characters"))
    }
    let schedule = cron.spec["schedule"]?.string ?? ""
    let zone = cron.spec["timeZone"]?.string
    if schedule.contains("TZ") {
      validator.add(
        .invalid(
          path.child("schedule"), .string(schedule),
          zone == nil
            ? "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            : "cannot use both timeZone field and TZ or CRON_TZ in schedule"))
    } else if !schedule.isEmpty {
      validator.check(schedule, at: path.child("schedule"), CronText.problem)
    }
    if let zone {
      if zone.isEmpty {
        validator.add(
          .invalid(path.child("timeZone"), "", "timeZone must be nil or non-empty string"))
      } else if zone.lowercased() == "local" || zone.contains("..") || zone.hasPrefix("/") {
        validator.add(
          .invalid(
            path.child("timeZone"), .string(zone),
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"))
      }
    }
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
      validator.notNegative(cron.spec[field], path.child(field))
    }
    let job = cron.spec.at("jobTemplate", "spec") ?? [:]
    let place = path.child("jobTemplate", "spec")
    validator.labels(
      cron.spec.at("jobTemplate", "metadata", "labels"), path.child("jobTemplate", "metadata", "labels"))
    if let selector = job["selector"] {
      validator.add(.invalid(place.child("selector"), selector, "`selector` will be auto-generated"))
    }
    if job["manualSelector"]?.bool == true {
      validator.add(.notSupported(place.child("manualSelector"), true, ["nil", "false"]))
    }
    validator.jobSpec(job, place)
  })
}
