// What node agents and plugins that are found by their sockets say to each other: package v1 of k8s.io/kubelet's
// pluginregistration, by the numbers of its fields.

import ClusterObjects
import GRPCCore

enum PluginService {
  private static let registration = ServiceDescriptor(
    fullyQualifiedService: "pluginregistration.Registration")
  static let info = MethodDescriptor(service: registration, method: "GetInfo", type: .unary)
  static let notify = MethodDescriptor(
    service: registration, method: "NotifyRegistrationStatus", type: .unary)
}

/// `PluginInfo`: who the plugin is.
struct PluginInfo: WireMessage, Hashable {
  /// `DevicePlugin`, `CSIPlugin`, `DRAPlugin`.
  var type = ""
  var name = ""
  /// Where it serves; empty for the socket it was asked at.
  var endpoint = ""
  var versions: [String] = []
  init(type: String, name: String, endpoint: String = "", versions: [String]) {
    (self.type, self.name, self.endpoint, self.versions) = (type, name, endpoint, versions)
  }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      switch field.number {
      case 1: type = field.value.text
      case 2: name = field.value.text
      case 3: endpoint = field.value.text
      case 4: versions.append(field.value.text)
      default: break
      }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    out.text(1, type)
    out.text(2, name)
    out.text(3, endpoint)
    out.texts(4, versions)
    return out.bytes
  }
}

/// `RegistrationStatus`: what came of it.
struct PluginStatus: WireMessage, Hashable {
  var isRegistered = false
  var error = ""
  init(isRegistered: Bool, error: String = "") { (self.isRegistered, self.error) = (isRegistered, error) }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      if field.number == 1 { isRegistered = field.value.flag }
      if field.number == 2 { error = field.value.text }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    out.bool(1, isRegistered)
    out.text(2, error)
    return out.bytes
  }
}
