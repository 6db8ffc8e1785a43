// A Job finds its pods by its own uid, unless its author says otherwise.

enum JobStrategy {
  /// The labels of a job's pods, new names and those of before 1.27.
  static let uidLabels = ["batch.kubernetes.io/controller-uid", "controller-uid"]
  static let nameLabels = ["batch.kubernetes.io/job-name", "job-name"]

  /// Labels the template and selects by the label. Expects the uid to be given already.
  static func prepareForCreate(_ job: inout JSON) {
    guard job.at("spec", "manualSelector")?.bool != true else { return }
    let path = ["spec", "template", "metadata", "labels"]
    var labels = job.at(path)?.object ?? [:]
    for name in uidLabels where !labels.contains(name) { labels[name] = .string(job.uid) }
    for name in nameLabels where !labels.contains(name) { labels[name] = .string(job.name) }
    job.set(.object(labels), at: path[...])
    var selected = job.at("spec", "selector", "matchLabels")?.object ?? [:]
    if !selected.contains(uidLabels[0]) { selected[uidLabels[0]] = .string(job.uid) }
    job.set(.object(selected), at: "spec", "selector", "matchLabels")
  }
}
