// What leaves a cluster in a support archive: objects without what is secret in them, and texts without tokens.

import ClusterObjects

/// Takes secrets out. What is taken out is replaced by a word that says so, so that its place can still be seen.
public enum Redaction {
  /// Stands where a value was.
  public static let mark = "(removed)"
  /// Fields whose values are secrets wherever they stand.
  private static let secretFields: Set<String> = [
    "token", "password", "privateKey", "clientSecret", "bearerToken", "caBundle", "client-key-data",
    "client-certificate-data", "certificate-authority-data",
  ]

  /// An object as it may leave: values of Secrets and ConfigMaps, of environment variables and of secret fields are gone, words and
  /// arguments of containers too, since passwords are given in them; so is what `kubectl apply` remembered of all that. Names, labels,
  /// keys and everything that the network is planned from stay. Pure; costs the object's size.
  public static func object(_ tree: JSON) -> JSON {
    var tree = value(tree)
    if let annotations = tree.at("metadata", "annotations")?.object {
      var kept = tree.at("metadata") ?? [:]
      var left: JSON = [:]
      for (key, text) in annotations where key != "kubectl.kubernetes.io/last-applied-configuration" {
        left[key] = text
      }
      kept["annotations"] = left
      kept["managedFields"] = nil
      tree["metadata"] = kept
    } else if var metadata = tree.at("metadata") {
      metadata["managedFields"] = nil
      tree["metadata"] = metadata
    }
    if tree.kind == "Secret" || tree.kind == "ConfigMap" {
      for field in ["data", "stringData", "binaryData"] {
        guard let values = tree[field]?.object else { continue }
        var marked: JSON = [:]
        for (key, _) in values { marked[key] = JSON(mark) }
        tree[field] = marked
      }
    }
    return tree
  }

  private static func value(_ tree: JSON) -> JSON {
    if let items = tree.array { return .array(items.map(value)) }
    guard let fields = tree.object else { return tree }
    var out: JSON = [:]
    for (name, field) in fields {
      switch name {
      case "env":
        out[name] = field.array.map { .array($0.map(variable)) } ?? value(field)
      case "command", "args":
        out[name] = field.array.map { .array($0.map { _ in JSON(mark) }) } ?? value(field)
      default:
        out[name] = secretFields.contains(name) && field.string != nil ? JSON(mark) : value(field)
      }
    }
    return out
  }

  /// An environment variable: where its value comes from stays, the value does not.
  private static func variable(_ entry: JSON) -> JSON {
    guard entry["value"] != nil else { return entry }
    var entry = entry
    entry["value"] = JSON(mark)
    return entry
  }

  /// A text, such as a log or a page of metrics: what looks like a bearer token (three parts with points, the first of which is a JSON
  /// object in base64) or stands behind `Bearer`, `token=` or `password=` is gone. Pure; costs the text's length.
  public static func text(_ text: String) -> String {
    var out = ""
    var word = ""
    var hides = false
    func flush() {
      if word.isEmpty { return }
      let isToken = word.hasPrefix("eyJ") && word.filter { $0 == "." }.count == 2
      out += hides || isToken ? mark : word
      hides = !hides && word == "Bearer"
      word = ""
    }
    for character in text {
      if character.isLetter || character.isNumber || "-_.~+/".contains(character) {
        word.append(character)
      } else {
        let name = word.lowercased()
        let isName = character == "=" && (name.hasSuffix("token") || name.hasSuffix("password"))
        flush()
        // Blanks stand between `Bearer` and the token; anything else ends what is hidden.
        if character != " " { hides = false }
        out.append(character)
        if isName { hides = true }
      }
    }
    flush()
    return out
  }
}
