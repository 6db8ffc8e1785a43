// The scheduler's configuration on the command line.

import ArgumentParser
import ClusterClient
import ClusterScheduler
import Diagnostics

/// `--scheduler-config FILE`: a KubeSchedulerConfiguration.
struct SchedulingOptions: ParsableArguments {
  @Option(
    help: "A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1). Default: upstream's defaults.")
  var schedulerConfig: String?

  /// Reads and checks the file.
  func settings() throws(WeftError) -> SchedulerSettings {
    var settings = SchedulerSettings()
    if let schedulerConfig {
      settings.configuration = try SchedulerConfiguration(
        parsing: TextFile.read(schedulerConfig, code: "SCH0004"), file: schedulerConfig)
    }
    try settings.validate()
    return settings
  }
}
