// Roles, who holds them, and requests for certificates.

extension TablePrinter {
  static let createdAt = TableColumn("Created At", type: "date", "When the object was made.")

  /// Kinds of which only name and time are told.
  static let created = TablePrinter(columns: [name, createdAt]) { object, _ in
    [JSON(object.name), Cell.text(object.creationTimestamp, or: "<unknown>")]
  }

  static let roleBindings = TablePrinter(columns: [
    name, TableColumn("Role", "The role that is given."), age,
    TableColumn("Users", priority: 1, "Users who hold it."),
    TableColumn("Groups", priority: 1, "Groups whose members hold it."),
    TableColumn("ServiceAccounts", priority: 1, "Service accounts that hold it."),
  ]) { object, now in
    func subjects(_ kind: String) -> JSON {
      let names = (object["subjects"]?.elements ?? []).filter { $0["kind"]?.string == kind }.map { subject in
        let name = subject["name"]?.string ?? ""
        return kind == "ServiceAccount" ? "\(subject["namespace"]?.string ?? "")/\(name)" : name
      }
      return JSON(names.joined(separator: ", "))
    }
    let role = object["roleRef"]
    return [
      JSON(object.name), JSON("\(role?["kind"]?.string ?? "")/\(role?["name"]?.string ?? "")"),
      Cell.age(object, now), subjects("User"), subjects("Group"), subjects("ServiceAccount"),
    ]
  }

  static let certificateRequests = TablePrinter(columns: [
    name, age, TableColumn("SignerName", "Who is to sign it."),
    TableColumn("Requestor", "Who asked for it."),
    TableColumn("RequestedDuration", "How long it is to be valid."),
    TableColumn("Condition", "What became of it."),
  ]) { object, now in
    let seconds = object.spec["expirationSeconds"]?.integer
    return [
      JSON(object.name), Cell.age(object, now), Cell.text(object.spec["signerName"]?.string),
      JSON(object.spec["username"]?.string ?? ""),
      JSON(seconds.map { KubeTime.age($0) } ?? "<none>"), JSON(condition(object)),
    ]
  }

  private static func conditions(_ object: JSON) -> Set<String> {
    Set((object.at("status", "conditions")?.elements ?? []).compactMap { $0["type"]?.string })
  }

  private static func condition(_ request: JSON) -> String {
    let types = conditions(request)
    var text = types.contains("Denied") ? "Denied" : types.contains("Approved") ? "Approved" : "Pending"
    if types.contains("Failed") { text += ",Failed" }
    if request.at("status", "certificate")?.string?.isEmpty == false { text += ",Issued" }
    return text
  }

  static let trustBundles = TablePrinter(columns: [
    name, TableColumn("SignerName", "Whose roots they are."),
  ]) { object, _ in [JSON(object.name), Cell.text(object.spec["signerName"]?.string)] }

  static let podCertificateRequests = TablePrinter(columns: [
    name, TableColumn("PodName", "The pod it is for."),
    TableColumn("ServiceAccountName", "The pod's service account."),
    TableColumn("NodeName", "The pod's node."), TableColumn("SignerName", "Who is to sign it."),
    TableColumn("State", "What became of it."), age,
  ]) { object, now in
    let types = conditions(object)
    let state = ["Denied", "Failed", "Issued"].first { types.contains($0) } ?? "Pending"
    return [
      JSON(object.name), Cell.text(object.spec["podName"]?.string),
      Cell.text(object.spec["serviceAccountName"]?.string), Cell.text(object.spec["nodeName"]?.string),
      Cell.text(object.spec["signerName"]?.string), JSON(state), Cell.age(object, now),
    ]
  }
}
