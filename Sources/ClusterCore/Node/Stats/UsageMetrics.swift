// `/metrics/resource` and `/metrics/cadvisor`: what pods use, in the names that metrics-server and dashboards know. Pure.

import ClusterObjects

/// Prometheus' text, one family after the other.
struct MetricText {
  private(set) var text = ""

  mutating func family(_ name: String, _ type: String, _ help: String) {
    text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
  }

  /// `milliseconds` since 1970: when the value was read.
  mutating func sample(
    _ name: String, _ labels: [(String, String)], _ value: Double, at milliseconds: Int64? = nil
  ) {
    text += name
    if !labels.isEmpty {
      text += "{" + labels.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",") + "}"
    }
    text += " \(Self.number(value))"
    if let milliseconds { text += " \(milliseconds)" }
    text += "\n"
  }

  private static func escaped(_ value: String) -> String {
    value.replacing("\\", with: "\\\\").replacing("\n", with: "\\n").replacing("\"", with: "\\\"")
  }

  static func number(_ value: Double) -> String {
    value == value.rounded() && value.magnitude < 9e15 ? "\(Int64(value))" : "\(value)"
  }
}

/// What metrics-server reads.
func planResourceMetrics(_ usage: NodeUsage) -> String {
  var out = MetricText()
  let at = usage.at / 1_000_000
  func seconds(_ cpu: CPUUsage) -> Double { Double(cpu.coreNanoseconds) / 1e9 }
  func labels(_ pod: PodUsage, _ container: ContainerUsage) -> [(String, String)] {
    [("container", container.name), ("namespace", pod.namespace), ("pod", pod.name)]
  }
  func labels(_ pod: PodUsage) -> [(String, String)] { [("namespace", pod.namespace), ("pod", pod.name)] }
  let containers = usage.pods.flatMap { pod in pod.containers.map { (pod, $0) } }

  var name = "container_cpu_usage_seconds_total"
  out.family(name, "counter", "Processor time of the container in seconds.")
  for (pod, container) in containers {
    if let cpu = container.group.cpu { out.sample(name, labels(pod, container), seconds(cpu), at: at) }
  }
  name = "container_memory_working_set_bytes"
  out.family(name, "gauge", "Working set of the container in bytes.")
  for (pod, container) in containers {
    if let memory = container.group.memory {
      out.sample(name, labels(pod, container), Double(memory.workingSet), at: at)
    }
  }
  name = "container_start_time_seconds"
  out.family(name, "gauge", "When the container was started, in seconds since 1970.")
  for (pod, container) in containers {
    out.sample(name, labels(pod, container), Double(container.startedAt) / 1e9)
  }
  name = "node_cpu_usage_seconds_total"
  out.family(name, "counter", "Processor time of the node in seconds.")
  if let cpu = usage.cpu { out.sample(name, [], seconds(cpu), at: at) }
  name = "node_memory_working_set_bytes"
  out.family(name, "gauge", "Working set of the node in bytes.")
  out.sample(name, [], Double(usage.memory.workingSet), at: at)
  name = "pod_cpu_usage_seconds_total"
  out.family(name, "counter", "Processor time of the pod in seconds.")
  for pod in usage.pods { if let cpu = pod.group.cpu { out.sample(name, labels(pod), seconds(cpu), at: at) } }
  name = "pod_memory_working_set_bytes"
  out.family(name, "gauge", "Working set of the pod in bytes.")
  for pod in usage.pods {
    if let memory = pod.group.memory { out.sample(name, labels(pod), Double(memory.workingSet), at: at) }
  }
  name = "resource_scrape_error"
  out.family(name, "gauge", "1 when the usage could not be read, 0 otherwise.")
  out.sample(name, [], 0)
  return out.text
}

/// The part of cAdvisor's metrics that dashboards of pods use. A pod as a whole has an empty `container`.
func planCadvisorMetrics(_ usage: NodeUsage, cpus: Int, memoryBytes: Int64) -> String {
  var out = MetricText()
  let at = usage.at / 1_000_000
  typealias Row = (labels: [(String, String)], group: CgroupUsage, startedAt: Int64, disk: DiskUsage?)
  var rows: [Row] = []
  for pod in usage.pods {
    func labels(_ container: String, _ id: String, _ image: String) -> [(String, String)] {
      [
        ("container", container), ("id", "/pod\(pod.uid)\(id.isEmpty ? "" : "/" + id)"), ("image", image),
        ("name", id), ("namespace", pod.namespace), ("pod", pod.name),
      ]
    }
    rows.append((labels("", "", ""), pod.group, pod.startedAt, nil))
    for container in pod.containers {
      rows.append(
        (
          labels(container.name, container.id, container.image), container.group, container.startedAt,
          container.rootfs
        ))
    }
  }
  func write(
    _ name: String, _ type: String, _ help: String, extra: [(String, String)] = [],
    _ value: (Row) -> Double?
  ) {
    out.family(name, type, help)
    for row in rows { if let found = value(row) { out.sample(name, row.labels + extra, found, at: at) } }
  }
  write(
    "container_cpu_usage_seconds_total", "counter", "Processor time in seconds.", extra: [("cpu", "total")]
  ) { $0.group.cpu.map { Double($0.coreNanoseconds) / 1e9 } }
  write("container_memory_usage_bytes", "gauge", "Memory in bytes, caches included.") {
    $0.group.memory.map { Double($0.usage) }
  }
  write("container_memory_working_set_bytes", "gauge", "Working set in bytes.") {
    $0.group.memory.map { Double($0.workingSet) }
  }
  write("container_memory_rss", "gauge", "Resident memory in bytes.") {
    $0.group.memory.map { Double($0.resident) }
  }
  write("container_processes", "gauge", "Processes and threads.") { $0.group.processes.map { Double($0) } }
  write("container_fs_usage_bytes", "gauge", "Bytes of the written layer.") {
    $0.disk.map { Double($0.bytes) }
  }
  write("container_start_time_seconds", "gauge", "When it was started, in seconds since 1970.") {
    Double($0.startedAt / 1_000_000_000)
  }
  let counters: [(String, (InterfaceUsage) -> UInt64)] = [
    ("container_network_receive_bytes_total", { $0.receivedBytes }),
    ("container_network_receive_errors_total", { $0.receiveErrors }),
    ("container_network_transmit_bytes_total", { $0.sentBytes }),
    ("container_network_transmit_errors_total", { $0.sendErrors }),
  ]
  for (name, field) in counters {
    out.family(name, "counter", "Counted by the pod's interface.")
    for pod in usage.pods {
      for interface in pod.interfaces {
        out.sample(
          name,
          [
            ("id", "/pod\(pod.uid)"), ("interface", interface.name), ("namespace", pod.namespace),
            ("pod", pod.name),
          ], Double(field(interface)), at: at)
      }
    }
  }
  out.family("machine_cpu_cores", "gauge", "Processors of the machine.")
  out.sample("machine_cpu_cores", [], Double(cpus))
  out.family("machine_memory_bytes", "gauge", "Memory of the machine in bytes.")
  out.sample("machine_memory_bytes", [], Double(memoryBytes))
  return out.text
}
