// What node agents and device plugins say to each other: package v1beta1 of k8s.io/kubelet, both services, by the numbers of
// its fields.

import ClusterObjects
import GRPCCore

/// Names on the wire.
enum DeviceService {
  static let version = "v1beta1"
  private static let registration = ServiceDescriptor(fullyQualifiedService: "v1beta1.Registration")
  private static let plugin = ServiceDescriptor(fullyQualifiedService: "v1beta1.DevicePlugin")
  static let register = MethodDescriptor(service: registration, method: "Register", type: .unary)
  static let options = MethodDescriptor(service: plugin, method: "GetDevicePluginOptions", type: .unary)
  static let listAndWatch = MethodDescriptor(
    service: plugin, method: "ListAndWatch", type: .serverStreaming)
  static let prefer = MethodDescriptor(service: plugin, method: "GetPreferredAllocation", type: .unary)
  static let allocate = MethodDescriptor(service: plugin, method: "Allocate", type: .unary)
  static let preStart = MethodDescriptor(service: plugin, method: "PreStartContainer", type: .unary)
}

struct NoMessage: WireMessage, Hashable {
  init() {}
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while try reader.next() != nil {}
  }
  var wire: [UInt8] { [] }
}

/// `DevicePluginOptions`.
struct DevicePluginOptions: WireMessage, Hashable {
  var isPreStartRequired = false
  var hasPreferences = false
  init(isPreStartRequired: Bool = false, hasPreferences: Bool = false) {
    self.isPreStartRequired = isPreStartRequired
    self.hasPreferences = hasPreferences
  }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      if field.number == 1 { isPreStartRequired = field.value.flag }
      if field.number == 2 { hasPreferences = field.value.flag }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    out.bool(1, isPreStartRequired)
    out.bool(2, hasPreferences)
    return out.bytes
  }
}

/// `RegisterRequest`.
struct DeviceRegistration: WireMessage, Hashable {
  var version = DeviceService.version
  /// The plugin's socket, by name within the folder.
  var endpoint = ""
  var resource = ""
  var options = DevicePluginOptions()
  init(endpoint: String, resource: String, options: DevicePluginOptions = DevicePluginOptions()) {
    self.endpoint = endpoint
    self.resource = resource
    self.options = options
  }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    version = ""
    var reader = WireReader(wire)
    while let field = try reader.next() {
      switch field.number {
      case 1: version = field.value.text
      case 2: endpoint = field.value.text
      case 3: resource = field.value.text
      case 4: options = try field.value.message(DevicePluginOptions.self)
      default: break
      }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    out.text(1, version)
    out.text(2, endpoint)
    out.text(3, resource)
    out.element(4, options.wire)
    return out.bytes
  }
}

/// `Device`. Where it is in the machine is not used: there is no topology manager.
struct PluginDevice: WireMessage, Hashable {
  var id = ""
  var health = ""
  var isHealthy: Bool { health == "Healthy" }
  init(id: String, health: String = "Healthy") {
    self.id = id
    self.health = health
  }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      if field.number == 1 { id = field.value.text }
      if field.number == 2 { health = field.value.text }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    out.text(1, id)
    out.text(2, health)
    return out.bytes
  }
}

/// `ListAndWatchResponse`: all devices of a plugin, anew each time.
struct DeviceList: WireMessage, Hashable {
  var devices: [PluginDevice] = []
  init(_ devices: [PluginDevice]) { self.devices = devices }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      if field.number == 1 { devices.append(try field.value.message(PluginDevice.self)) }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    for device in devices { out.element(1, device.wire) }
    return out.bytes
  }
}

/// A list of ids of one container: `ContainerAllocateRequest`, `PreStartContainerRequest` and
/// `ContainerPreferredAllocationResponse` alike.
struct DeviceIDs: WireMessage, Hashable {
  var ids: [String] = []
  init(_ ids: [String]) { self.ids = ids }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      if field.number == 1 { ids.append(field.value.text) }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    out.texts(1, ids)
    return out.bytes
  }
}

/// A message whose first field is a list with an entry for each container: `AllocateRequest`, `AllocateResponse`,
/// `PreferredAllocationRequest` and `PreferredAllocationResponse`.
struct PerContainer<Entry: WireMessage>: WireMessage {
  var entries: [Entry] = []
  init(_ entries: [Entry]) { self.entries = entries }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      if field.number == 1 { entries.append(try field.value.message(Entry.self)) }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    for entry in entries { out.element(1, entry.wire) }
    return out.bytes
  }
}

/// `ContainerPreferredAllocationRequest`.
struct PreferenceRequest: WireMessage, Hashable {
  var available: [String] = []
  var mustInclude: [String] = []
  var size: Int = 0
  init(available: [String], mustInclude: [String], size: Int) {
    self.available = available
    self.mustInclude = mustInclude
    self.size = size
  }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      if field.number == 1 { available.append(field.value.text) }
      if field.number == 2 { mustInclude.append(field.value.text) }
      if field.number == 3 { size = Int(Int32(truncatingIfNeeded: field.value.number)) }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    out.texts(1, available)
    out.texts(2, mustInclude)
    out.integer(3, Int64(size))
    return out.bytes
  }
}

/// `ContainerAllocateResponse`: what a container gets for its devices.
struct DeviceGrant: WireMessage, Hashable {
  struct Mount: WireMessage, Hashable {
    var containerPath = ""
    var hostPath = ""
    var isReadOnly = false
    init(containerPath: String, hostPath: String, isReadOnly: Bool = false) {
      self.containerPath = containerPath
      self.hostPath = hostPath
      self.isReadOnly = isReadOnly
    }
    init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
      var reader = WireReader(wire)
      while let field = try reader.next() {
        if field.number == 1 { containerPath = field.value.text }
        if field.number == 2 { hostPath = field.value.text }
        if field.number == 3 { isReadOnly = field.value.flag }
      }
    }
    var wire: [UInt8] {
      var out = ProtobufWriter(omitsDefaults: true)
      out.text(1, containerPath)
      out.text(2, hostPath)
      out.bool(3, isReadOnly)
      return out.bytes
    }
  }

  struct Node: WireMessage, Hashable {
    var containerPath = ""
    var hostPath = ""
    var permissions = ""
    init(containerPath: String, hostPath: String, permissions: String) {
      self.containerPath = containerPath
      self.hostPath = hostPath
      self.permissions = permissions
    }
    init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
      var reader = WireReader(wire)
      while let field = try reader.next() {
        if field.number == 1 { containerPath = field.value.text }
        if field.number == 2 { hostPath = field.value.text }
        if field.number == 3 { permissions = field.value.text }
      }
    }
    var wire: [UInt8] {
      var out = ProtobufWriter(omitsDefaults: true)
      out.text(1, containerPath)
      out.text(2, hostPath)
      out.text(3, permissions)
      return out.bytes
    }
  }

  var environment: [String: String] = [:]
  var mounts: [Mount] = []
  var nodes: [Node] = []
  var annotations: [String: String] = [:]
  /// Names of devices that the runtime looks up itself; containerd 1.6 cannot, and is not told.
  var runtimeDevices: [String] = []

  init() {}
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      switch field.number {
      case 1, 4:
        let entry = try WireReader.entry(field.value)
        if field.number == 1 {
          environment[entry.key] = entry.value
        } else {
          annotations[entry.key] = entry.value
        }
      case 2: mounts.append(try field.value.message(Mount.self))
      case 3: nodes.append(try field.value.message(Node.self))
      case 5: runtimeDevices += try field.value.message(DeviceIDs.self).ids
      default: break
      }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    out.map(1, environment)
    for mount in mounts { out.element(2, mount.wire) }
    for node in nodes { out.element(3, node.wire) }
    out.map(4, annotations)
    for name in runtimeDevices { out.element(5, DeviceIDs([name]).wire) }
    return out.bytes
  }

  /// Adds what another of the container's resources brings; what is there stays.
  mutating func merge(_ other: DeviceGrant) {
    environment.merge(other.environment) { first, _ in first }
    annotations.merge(other.annotations) { first, _ in first }
    for mount in other.mounts where !mounts.contains(where: { $0.containerPath == mount.containerPath }) {
      mounts.append(mount)
    }
    for node in other.nodes where !nodes.contains(where: { $0.containerPath == node.containerPath }) {
      nodes.append(node)
    }
    runtimeDevices += other.runtimeDevices
  }
}
