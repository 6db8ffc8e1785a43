// Keeps one certificate of the node new: asks for the next before this one ends, keeps it over restarts, and hands it to
// whoever shows it, without a restart of anything.

import ClusterClient
import Diagnostics
import Logging

/// Runs until its task is cancelled. One a purpose.
public actor CertificateKeeper {
  private let purpose: CertificatePurpose
  private let nodeName: String
  private let path: String
  private let api: any ClusterAPI
  private let patience: Duration
  private let use: @Sendable (NodeCertificate) async -> Void
  private let secondsLeft: Gauge
  private let failures: Counter
  private var current: NodeCertificate?
  private let log = Logger(label: "node")

  /// `use` is called with the file's certificate, when there is one, and with each that comes after. `current` is what is in use
  /// already, when it is not the file's.
  /// - Parameter folder: where `kubelet-client-current.pem` or `kubelet-server-current.pem` is.
  public init(
    _ purpose: CertificatePurpose, nodeName: String, folder: String, api: any ClusterAPI,
    current: NodeCertificate? = nil, metrics: Metrics = .shared,
    patience: Duration = CertificateRequests.patience,
    use: @escaping @Sendable (NodeCertificate) async -> Void
  ) {
    self.purpose = purpose
    self.nodeName = nodeName
    self.api = api
    self.current = current
    self.patience = patience
    self.use = use
    path = "\(folder)/\(purpose.fileName)"
    let part = purpose == .client ? "client" : "server"
    secondsLeft = metrics.gauge(
      "kubelet_certificate_manager_\(part)_ttl_seconds",
      "Seconds until the \(part) certificate ends; negative when it has."
    ).child()
    failures = metrics.counter(
      part == "client"
        ? "kubelet_certificate_manager_client_expiration_renew_errors"
        : "kubelet_server_expiration_renew_errors",
      "Requests for a new \(part) certificate that failed."
    ).child()
  }

  public func run() async {
    if let kept = NodeCertificate.read(path, now: Timestamp.now().seconds), kept.end > current?.end ?? 0 {
      current = kept
      await use(kept)
    }
    let share = Double.random(in: 0...1)
    var pause: Duration = .seconds(1)
    while !Task.isCancelled {
      let now = Timestamp.now().seconds
      if let current {
        secondsLeft.set(Double(current.end - now))
        let renewal = current.renewal(share: share)
        if now < renewal {
          // In steps: a clock that is set does not wait for a timer that was not.
          try? await Task.sleep(for: .seconds(min(renewal - now, 60)))
          continue
        }
      }
      do {
        let next = try await CertificateRequests.obtain(
          purpose, nodeName: nodeName, api: api, patience: patience)
        do {
          try next.write(path)
        } catch {
          log.error("certificate is not kept over a restart", metadata: ["error": "\(error)"])
        }
        current = next
        pause = .seconds(1)
        log.info(
          "certificate rotated",
          metadata: ["for": "\(purpose == .client ? "client" : "server")", "path": "\(path)"])
        await use(next)
      } catch {
        if Task.isCancelled { return }
        failures.increment()
        log.warning(
          "no new certificate, trying again",
          metadata: ["for": "\(purpose == .client ? "client" : "server")", "error": "\(error)"])
        try? await Task.sleep(for: pause * Double.random(in: 0.5...1))
        pause = min(pause * 2, .seconds(120))
      }
    }
  }
}
