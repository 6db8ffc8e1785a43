// What node agents tell monitoring programs about pods' devices: package v1 of k8s.io/kubelet's pod-resources, by the numbers of
// its fields. Processors and memory of one's own have no fields here: no manager gives any.

import ClusterObjects
import GRPCCore

enum PodResourcesService {
  private static let lister = ServiceDescriptor(fullyQualifiedService: "v1.PodResourcesLister")
  static let list = MethodDescriptor(service: lister, method: "List", type: .unary)
  static let allocatable = MethodDescriptor(
    service: lister, method: "GetAllocatableResources", type: .unary)
  static let get = MethodDescriptor(service: lister, method: "Get", type: .unary)
}

/// `ContainerDevices`: devices of one resource.
struct ContainerDevices: WireMessage, Hashable {
  var resource = ""
  var ids: [String] = []
  init(resource: String, ids: [String]) { (self.resource, self.ids) = (resource, ids) }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      if field.number == 1 { resource = field.value.text }
      if field.number == 2 { ids.append(field.value.text) }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    out.text(1, resource)
    out.texts(2, ids)
    return out.bytes
  }
}

/// `ContainerResources`.
struct ContainerResources: WireMessage, Hashable {
  var name = ""
  var devices: [ContainerDevices] = []
  init(name: String, devices: [ContainerDevices]) { (self.name, self.devices) = (name, devices) }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      if field.number == 1 { name = field.value.text }
      if field.number == 2 { devices.append(try field.value.message(ContainerDevices.self)) }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    out.text(1, name)
    for entry in devices { out.element(2, entry.wire) }
    return out.bytes
  }
}

/// `PodResources`.
struct PodResources: WireMessage, Hashable {
  var name = ""
  var namespace = ""
  var containers: [ContainerResources] = []
  init(name: String, namespace: String, containers: [ContainerResources]) {
    (self.name, self.namespace, self.containers) = (name, namespace, containers)
  }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      switch field.number {
      case 1: name = field.value.text
      case 2: namespace = field.value.text
      case 3: containers.append(try field.value.message(ContainerResources.self))
      default: break
      }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    out.text(1, name)
    out.text(2, namespace)
    for container in containers { out.element(3, container.wire) }
    return out.bytes
  }
}

/// `GetPodResourcesRequest`.
struct PodResourcesRequest: WireMessage, Hashable {
  var name = ""
  var namespace = ""
  init(name: String, namespace: String) { (self.name, self.namespace) = (name, namespace) }
  init(wire: ArraySlice<UInt8>) throws(DamagedMessage) {
    var reader = WireReader(wire)
    while let field = try reader.next() {
      if field.number == 1 { name = field.value.text }
      if field.number == 2 { namespace = field.value.text }
    }
  }
  var wire: [UInt8] {
    var out = ProtobufWriter(omitsDefaults: true)
    out.text(1, name)
    out.text(2, namespace)
    return out.bytes
  }
}

/// `PodResources` of a pod as the node wants it, with what its containers were given. Init containers that end are left out, as
/// kubelet leaves them out. Pure.
func planPodResources(_ pod: JSON, _ allocations: [DeviceAllocation]) -> PodResources {
  let spec = PodSpec(pod)
  let own = allocations.filter { $0.pod == pod.uid }
  return PodResources(
    name: pod.name, namespace: pod.namespace,
    containers: spec.all.filter { $0.role != .initial && $0.role != .ephemeral }.map { container in
      ContainerResources(
        name: container.name,
        devices: own.filter { $0.container == container.name }.sorted { $0.resource < $1.resource }
          .map { ContainerDevices(resource: $0.resource, ids: $0.ids.sorted()) })
    })
}
