// T-I8's other half: where memory is bounded from outside, the limits are such that the bound is not reached. That a process lives so is
// shown by IngressMemoryTests.

import Testing

@testable import Ingress

@Suite struct MemoryRoomTests {
  @Test func `what is left is the least of the process's bound and half of its group's`() {
    #expect(MemoryRoom(addressSpace: nil, used: 5, group: nil).bytes == nil)
    #expect(MemoryRoom(addressSpace: 100, used: 30, group: nil).bytes == 70)
    #expect(MemoryRoom(addressSpace: 100, used: 300, group: nil).bytes == 0)
    #expect(MemoryRoom(addressSpace: nil, used: 30, group: 100).bytes == 50)
    #expect(MemoryRoom(addressSpace: 100, used: 90, group: 100).bytes == 10)
  }

  @Test(
    arguments: [
      // Version 2, on a machine and in a container; without a bound; not to be read.
      (
        "0::/system.slice/weft.service", ["/sys/fs/cgroup/system.slice/weft.service/memory.max": "1000\n"],
        1000
      ),
      ("0::/", ["/sys/fs/cgroup//memory.max": "2000\n"], 2000),
      ("0::/../other", ["/sys/fs/cgroup/memory.max": "3000\n"], 3000),
      ("0::/", ["/sys/fs/cgroup//memory.max": "max\n"], nil),
      ("0::/", [:], nil), ("", [:], nil), ("nonsense\n1:2", [:], nil),
      // Version 1: the bound that stands for none, then one.
      (
        "5:cpu:/\n4:memory:/a", ["/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n"],
        nil
      ),
      ("4:memory:/docker/x\n0::/", ["/sys/fs/cgroup/memory/memory.limit_in_bytes": "4000"], 4000),
    ] as [(String, [String: String], UInt64?)])
  func `a control group's bound is found in both versions`(
    groups: String, files: [String: String], bound: UInt64?
  ) {
    #expect(MemoryRoom.bound(ofGroups: groups) { files[$0] ?? "" } == bound)
  }

  @Test func `limits fit the room at their fullest, some of each are left, and none is raised`() {
    let limits = IngressLimits()
    func fullest(_ limits: IngressLimits) -> Int {
      limits.clientsMax * IngressLimits.clientBytes + limits.streamsMax * IngressLimits.clientBytes
        + limits.requestBuffersMax * IngressLimits.requestBufferBytes
        + limits.bulkBuffersMax * limits.bulkBufferBytes
    }
    let free = limits.fitting(MemoryRoom(addressSpace: nil, used: 0, group: nil), workers: 2)
    #expect(fullest(free) == fullest(limits))
    var before = 0
    for megabytes in [0, 1, 50, 64, 100, 128, 256, 512, 1024, 4096, 65_536] {
      let room = MemoryRoom(addressSpace: UInt64(megabytes) << 20, used: 0, group: nil)
      for workers in [1, 2, 8] {
        let fitted = limits.fitting(room, workers: workers)
        #expect(fitted.clientsMax >= 64 && fitted.requestBuffersMax >= 64 && fitted.bulkBuffersMax >= 16)
        #expect(fitted.clientsMax <= limits.clientsMax && fitted.bulkBuffersMax <= limits.bulkBuffersMax)
        // The least of each is 6 MiB.
        let bound = max(6 << 20, (megabytes << 20) / workers)
        #expect(fullest(fitted) <= bound, "\(megabytes) \(workers): \(fullest(fitted))")
      }
      let alone = fullest(limits.fitting(room, workers: 1))
      #expect(alone >= before)
      before = alone
    }
    #expect(before == fullest(limits))
  }
}
