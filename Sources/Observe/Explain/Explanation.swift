// The answer of `weft explain`: each step a packet takes, what it found there, and the verdict.

import Addresses
import ClusterObjects

/// Why a connection would or would not arrive.
public struct Explanation: Sendable, Hashable {
  public enum Verdict: String, Sendable {
    case allow
    /// A policy drops it: the client times out.
    case deny
    /// It is answered with a refusal at once: no endpoint, or no such port.
    case reject
    /// It has nowhere to go: the name or the address does not exist.
    case unreachable
  }
  /// Whether the ruleset in the kernel of this node does what the objects say.
  public enum Kernel: String, Sendable { case agrees, differs, unknown }

  public struct Step: Sendable, Hashable {
    public enum Mark: String, Sendable { case fine, note, fault }
    /// The step of what carries packets to another node.
    public static let way = "way"
    /// `source`, `name`, `ingress`, `gateway`, `rule`, `certificate`, `service`, `endpoints`, `policy`, `hairpin`, `way`, `kernel`, `live`.
    public var step: String
    public var mark: Mark
    public var text: String
    /// Objects this step speaks of, as `Kind namespace/name`.
    public var objects: [String]
    /// What to type or change next, when something is wrong.
    public var hint: String?
    public init(_ step: String, _ mark: Mark, _ text: String, objects: [String] = [], hint: String? = nil) {
      self.step = step
      self.mark = mark
      self.text = text
      self.objects = objects
      self.hint = hint
    }
  }

  /// What the packet is, once names and Services were followed, and what is expected of it.
  public struct Asked: Sendable, Hashable {
    public var source: IPAddress
    /// A Service's address, or the endpoint itself.
    public var destination: SocketEndpoint
    public var transport: TransportProtocol
    /// Endpoints that policies let it reach, and those that they do not; both 0: it is refused whoever asks.
    public var open = 0
    public var closed = 0
  }

  public var source: String
  public var destination: String
  public var asked: Asked?
  public var verdict: Verdict = .unreachable
  public var kernel: Kernel = .unknown
  public var steps: [Step] = []

  public init(source: String, destination: String) {
    self.source = source
    self.destination = destination
  }

  /// The stable machine form.
  public var json: JSON {
    [
      "source": JSON(source), "destination": JSON(destination), "verdict": JSON(verdict.rawValue),
      "kernel": JSON(kernel.rawValue),
      "steps": .array(
        steps.map { step in
          var tree: JSON = [
            "step": JSON(step.step), "mark": JSON(step.mark.rawValue), "text": JSON(step.text),
            "objects": JSON(step.objects),
          ]
          if let hint = step.hint { tree["hint"] = JSON(hint) }
          return tree
        }),
    ]
  }

  /// Reads the machine form, as another node gave it: texts are made printable. Nil for what is none. `asked` is not in it.
  public init?(json tree: JSON) {
    guard let source = tree["source"]?.string, let destination = tree["destination"]?.string,
      let verdict = tree["verdict"]?.string.flatMap(Verdict.init),
      let kernel = tree["kernel"]?.string.flatMap(Kernel.init), let list = tree["steps"]?.array
    else { return nil }
    self.init(source: PartStatus.printable(source), destination: PartStatus.printable(destination))
    self.verdict = verdict
    self.kernel = kernel
    for entry in list {
      guard let step = entry["step"]?.string, let mark = entry["mark"]?.string.flatMap(Step.Mark.init),
        let text = entry["text"]?.string
      else { return nil }
      steps.append(
        Step(
          PacketText.printable(step), mark, PacketText.printable(text),
          objects: (entry["objects"]?.array ?? []).compactMap(\.string),
          hint: entry["hint"]?.string.map(PacketText.printable)))
    }
  }

  /// A line a step, as people read it. `colour` adds terminal colours.
  public func text(colour: Bool) -> String {
    func paint(_ text: String, _ code: String) -> String { colour ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text }
    let width = steps.map(\.step.count).max() ?? 0
    var out = ""
    for step in steps {
      let sign =
        switch step.mark {
        case .fine: paint("√", "32")
        case .note: paint("‼", "33")
        case .fault: paint("×", "31")
        }
      out += "\(sign) \(step.step)\(String(repeating: " ", count: width - step.step.count))  \(step.text)\n"
      if let hint = step.hint {
        out += "  \(String(repeating: " ", count: width))  \(paint("→ \(hint)", "2"))\n"
      }
    }
    out +=
      "\(paint(verdict.rawValue, verdict == .allow ? "1;32" : "1;31")): \(source) to \(destination), kernel \(kernel.rawValue)\n"
    return out
  }
}
