// stand-in during assembly
import ClusterView
final class IngressProcess: Sendable { func send(_ v: ClusterView) async {}; func stop() {} }
