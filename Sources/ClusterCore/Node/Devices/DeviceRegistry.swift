// Where device plugins say that they are there.

import GRPCCore

/// The Registration service. Sockets of plugins beside its own are to be removed first: plugins take that as the word to
/// register anew.
struct DeviceRegistry: RegistrableRPCService {
  let register: @Sendable (DeviceRegistration) async throws -> Void

  func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
    let register = register
    router.answer(DeviceService.register) { (registration: DeviceRegistration) in
      try await register(registration)
      return NoMessage()
    }
  }
}
