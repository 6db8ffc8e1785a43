// What nodes and pods use, as `kubectl get --raw` and `kubectl get podmetrics` print it.

extension TablePrinter {
  static let usage = TablePrinter(columns: [
    name, TableColumn("cpu", "Cores in use."), TableColumn("memory", "Memory that cannot be taken back."),
    TableColumn("Window", "How long was measured."),
  ]) { object, _ in
    var total = ResourceList(object["usage"])
    for container in object["containers"]?.elements ?? [] {
      total = total + ResourceList(container["usage"])
    }
    return [
      JSON(object.name), JSON(total["cpu"].description), JSON(total["memory"].description),
      object["window"] ?? "",
    ]
  }
}
