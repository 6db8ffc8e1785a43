public struct PodSecuritySettings: Sendable { public init() {} }
