// Asks credential providers for logins when an image is pulled: one run of a program an image at a time, its answer kept as long
// as it says.
//
//   image -> providers whose matchImages fit -> kept answer, or exec: request on stdin, answer on stdout -> logins

import ClusterObjects
import Diagnostics
import Logging

/// The credential providers of a node.
actor CredentialProviders {
  static let secondsMax = 60
  static let answerBytesMax = 1 << 20

  private struct Question: Hashable {
    var provider: String
    var path: String
  }

  private let settings: CredentialProviderSettings
  private let secondsMax: Int
  private let log = Logger(label: "node")
  private let errors: MetricFamily<Counter>
  private let durations: MetricFamily<Histogram>
  private var caches: [String: CredentialCache] = [:]
  private var asking: [Question: Task<JSON, Never>] = [:]

  init(
    _ settings: CredentialProviderSettings, metrics: Metrics,
    secondsMax: Int = CredentialProviders.secondsMax
  ) {
    self.settings = settings
    self.secondsMax = secondsMax
    errors = metrics.counter(
      "kubelet_credential_provider_plugin_errors", "Failed calls of credential providers.",
      labels: ["plugin_name"])
    durations = metrics.histogram(
      "kubelet_credential_provider_plugin_duration", "Seconds that calls of credential providers took.",
      labels: ["plugin_name"])
  }

  /// The logins that the providers know for an image, the most specific first. One that fails is said in the log, and knows
  /// none: the registry's own words reach the pod then, as with kubelet.
  func logins(_ image: String) async -> [RegistryLogin] {
    let path = registryPath(image)
    var entries: [JSON] = []
    for provider in settings.providers where provider.isFor(path) {
      entries.append(await auth(provider, path))
    }
    return planLogins(image: image, entries: entries)
  }

  private func auth(_ provider: CredentialProvider, _ path: String) async -> JSON {
    if let kept = caches[provider.name]?.auth(path, now: .now) { return kept }
    let question = Question(provider: provider.name, path: path)
    if let running = asking[question] { return await running.value }
    let task = Task { await ask(provider, path) }
    asking[question] = task
    defer { asking[question] = nil }
    return await task.value
  }

  private func ask(_ provider: CredentialProvider, _ path: String) async -> JSON {
    let start = ContinuousClock.now
    defer { durations.child(provider.name).observe(ContinuousClock.now - start) }
    do {
      let answer = try await run(provider, path)
      caches[provider.name, default: CredentialCache()].keep(
        answer, for: path, defaultSeconds: provider.defaultCacheSeconds, now: .now)
      return answer.auth
    } catch {
      errors.child(provider.name).increment()
      log.error(
        "credential provider failed",
        metadata: ["provider": "\(provider.name)", "image": "\(path)", "error": "\(error.message)"])
      return [:]
    }
  }

  private func run(
    _ provider: CredentialProvider, _ path: String
  ) async throws(CredentialRefusal) -> CredentialAnswer {
    let answer: Subprocess.Answer
    do throws(Subprocess.AskFailure) {
      answer = try await Subprocess.ask(
        ["\(settings.folder)/\(provider.name)"] + provider.arguments, environment: provider.environment,
        input: CredentialAnswer.request(path), seconds: secondsMax, bytesMax: Self.answerBytesMax)
    } catch {
      switch error {
      case .notStarted(let cause): throw CredentialRefusal(message: "it cannot be started: \(cause)")
      case .tookTooLong(let seconds): throw CredentialRefusal(message: "killed after \(seconds) s")
      case .saidTooMuch(let bytes): throw CredentialRefusal(message: "killed after \(bytes) bytes of answer")
      }
    }
    guard answer.code == 0 else {
      throw CredentialRefusal(message: "it ended with \(answer.code), and said: \(answer.errors)")
    }
    return try CredentialAnswer(answer.output)
  }
}
