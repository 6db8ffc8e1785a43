// What cluster DNS says of a name, in the words that explain knows.

import Addresses
import DNS
import Observe

enum ZoneNames {
  static func answer(_ zone: Zone, _ text: String) -> NameAnswer {
    guard let name = DomainName(text) else { return .doesNotExist }
    let four = zone.lookup(name, .a)
    let six = zone.lookup(name, .aaaa)
    let addresses = four.addresses + six.addresses
    if !addresses.isEmpty { return .addresses(addresses) }
    for record in four.records {
      if case .cname(let target) = record.data { return .alias("\(target)") }
    }
    switch four.outcome {
    case .noData, .records: return .noData
    case .nameError: return .doesNotExist
    default: return .forwarded
    }
  }
}
